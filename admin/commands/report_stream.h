// ReportStream: an answer of any length, printed while it is made: text, or one JSON object, member
// by member.
//
// Promises: what is of the other kind is left out: text() does nothing when JSON is wanted, the
//           members do nothing when text is.
// Requires: finish() at the end, else the JSON is cut off: a program that reads it sees that.
// Limits:   memory: 64 KiB and the largest item.
// Errors:   kDiskFailed (standard output does not take it).
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/result.h"

namespace cairn::admin {

class ReportStream {
 public:
  // False: it was not printed.
  using Print = std::function<bool(const std::string& text)>;
  using Json = nlohmann::ordered_json;

  ReportStream(bool json, Print print) : json_(json), print_(std::move(print)) {}
  bool json() const { return json_; }

  Status text(const std::string& text);
  Status member(const std::string& name, const Json& value);
  Status begin_list(const std::string& name);
  Status item(const Json& value);
  Status end_list();
  // What is there so far goes out.
  Status flush();
  Status finish();

 private:
  Status append(const std::string& text);
  std::string opening(const std::string& name);

  bool json_;
  Print print_;
  std::string waiting_;
  bool begun_ = false;
  bool list_begun_ = false;
};

}  // namespace cairn::admin
