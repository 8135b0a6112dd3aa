// What the server remembers: the newest counters of each directory it was told of, and the text
// in which they survive a restart. Pure.
//
// Limits: kDirectoriesMax directories of kThreadsMax threads.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "admin/hwflush/protocol.h"
#include "common/base/result.h"

namespace cairn::admin::hwflush {

class Memory {
 public:
  // What is known of a client's directory: by its id, else by its place, newest first. A `fresh`
  // client is forgotten first.
  Known find(const Hello& hello);

  // Takes what a client has flushed; `hello` names it.
  // Errors:   kStaleVersion when a counter is lower than the one known (the id of the thread is
  //           named), nothing is taken then; kOverloaded when there are too many directories.
  Status take(const Hello& hello, const Counters& flushed);

  std::size_t directories() const { return directories_.size(); }

  std::string to_text() const;
  // Error: kCorrupt.
  static Result<Memory> parse(std::string_view text);

  friend bool operator==(const Memory&, const Memory&) = default;

 private:
  struct Entry {
    std::string host;
    std::string path;
    std::uint64_t age = 0;  // a later one has a higher number
    std::map<std::uint32_t, std::uint64_t> counters;
    friend bool operator==(const Entry&, const Entry&) = default;
  };

  std::map<DirectoryId, Entry> directories_;
  std::uint64_t next_age_ = 1;
};

}  // namespace cairn::admin::hwflush
