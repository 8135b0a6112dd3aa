// What mds.conf and cs.conf have in common: one JSON object with "format" and "kind", typed fields,
// made once in a directory that is empty. Only for the .cpp files of the repositories.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/net/stream.h"

namespace cairn::cluster {

using Json = nlohmann::ordered_json;

std::string hex16(std::uint64_t raw);

// Reads typed fields of one object; remembers the first that is missing or wrong.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}

  bool has(const char* name) const { return json_.contains(name); }
  std::string text(const char* name);
  std::uint64_t number(const char* name, std::uint64_t max);
  bool flag(const char* name);
  std::uint64_t id(const char* name);   // 16 hex digits, not 0
  net::Address address(bool any_port);  // of the fields "address" and "port"
  std::string cluster();
  void note(const std::string& name) {
    if (wrong_.empty()) wrong_ = name;
  }
  const std::string& wrong() const { return wrong_; }
  // kCorrupt when a field was missing or wrong.
  Status check(const std::string& path) const;

 private:
  const Json& json_;
  std::string wrong_;
};

// The object of a file whose "format" is 1 to `format_max`.
// Errors:   kNotFound, kCorrupt.
Result<Json> read_identity(const std::string& path, std::string_view kind,
                           std::uint64_t format_max);

std::string identity_text(const Json& json);

// Makes the directory if needed. A file `except` may be there.
// Error:    kNotEmpty.
Status create_identity(const std::string& directory, const std::string& file, const Json& json,
                       std::string_view except = {});

}  // namespace cairn::cluster
