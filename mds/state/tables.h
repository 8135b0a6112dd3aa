// Tables: what one command sees and changes. Reads go through its own changes to the tables as they
// were before it; nothing is written until take() hands the changes over as one batch.
//
// Promises: discard() forgets every change, so that a refused command changes nothing.
// Requires: one command, one thread; the reader outlives it.
// Limits:   scans see the tables as they were *before* the command: an operation scans first, then
//           changes.
// Errors:   those of the reader and kCorrupt; the first is kept in failure(), so that the machine
//           can tell a broken store from a refusal whatever the operation made of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/kv/kv.h"
#include "mds/state/keys.h"
#include "mds/state/rows.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state {

class Tables {
 public:
  explicit Tables(const kv::Reader& reader) : reader_(reader) {}

  // Reads the counters; first call.
  Status load();
  // False before InitCluster.
  bool initialised() const { return loaded_.next_inode() != 0; }

  template <class T>
  Result<std::optional<T>> find(const std::string& key) {
    TRY(const std::optional<std::string> value, get(key));
    if (!value) return std::optional<T>();
    Result<T> row = rows::parse<T>(key, *value);
    if (!row) return failed(std::move(row).error());
    return std::optional<T>(std::move(*row));
  }
  template <class T>
  void put(std::string key, const T& row) {
    put_bytes(std::move(key), row.SerializeAsString());
  }
  Result<std::optional<std::string>> get(const std::string& key);
  Result<std::optional<std::uint64_t>> get_number(const std::string& key);
  void put_bytes(std::string key, std::string value);
  void put_number(std::string key, std::uint64_t number);
  void erase(std::string key);

  // The keys that start with `prefix`, from `from` (empty: the first) and before `end` (empty: the
  // last), at most `limit`, with their values.
  using Rows = std::vector<std::pair<std::string, std::string>>;
  struct Range {
    std::string prefix;
    std::string from = {};
    std::string end = {};
    std::size_t limit = SIZE_MAX;
  };
  Result<Rows> scan(const Range& range);

  pb::Counters& counters() { return counters_; }
  // Records a broken store.
  std::unexpected<Error> failed(Error error);
  std::unexpected<Error> corrupt(keys::Table table);
  const std::optional<Error>& failure() const { return failure_; }

  void discard();
  kv::Batch take();

 private:
  const kv::Reader& reader_;
  std::map<std::string, std::optional<std::string>, std::less<>> changes_;
  pb::Counters loaded_;
  pb::Counters counters_;
  std::optional<Error> failure_;
};

}  // namespace cairn::mds::state
