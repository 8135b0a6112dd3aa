// Kv: an ordered store of byte strings, the only door to persistent tables of MDS and CS.
//
// Promises: write() is atomic and visible to later reads at once; it is *not* durable until flush()
//           returns (both users keep a log of their own and replay it). scan() sees the state at
//           its call.
// Requires: one thread at a time per Kv, except where an implementation says more.
// Errors:   kCorrupt (bad checksum on disk), kDiskFailed (fence: nothing more may be written). Keys
//           order by unsigned bytes. Implementations: MemKv (tests, simulation), RocksKv.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace cairn::kv {

// What a batch does to one key: a value puts, nullopt deletes.
struct Change {
  std::string key;
  std::optional<std::string> value;
};

class Batch {
 public:
  void put(std::string key, std::string value) {
    changes_.push_back({std::move(key), std::move(value)});
  }
  void erase(std::string key) { changes_.push_back({std::move(key), std::nullopt}); }
  void append(Batch other) {
    for (Change& c : other.changes_) changes_.push_back(std::move(c));
  }
  const std::vector<Change>& changes() const { return changes_; }
  bool empty() const { return changes_.empty(); }
  void clear() { changes_.clear(); }

 private:
  std::vector<Change> changes_;
};

class Reader {
 public:
  virtual ~Reader() = default;
  virtual Result<std::optional<std::string>> get(std::string_view key) const = 0;
  // Calls `visit` for begin <= key < end in order until it returns false. An empty `end` means to
  // the last key.
  using Visit = std::function<bool(std::string_view key, std::string_view value)>;
  virtual Status scan(std::string_view begin, std::string_view end, const Visit& visit) const = 0;
};

class Kv : public Reader {
 public:
  virtual Status write(const Batch& batch) = 0;
  // Makes everything written so far durable.
  virtual Status flush() = 0;
};

// Reads through uncommitted changes: what a batch of commands sees of the ones before it.
class Overlay;  // common/kv/overlay.h

// The first key after every key that starts with `prefix`; "" when there is none.
std::string prefix_end(std::string_view prefix);

}  // namespace cairn::kv
