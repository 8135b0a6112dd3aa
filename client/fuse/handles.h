// What the kernel has open. A handle's number is fi->fh.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "client/core/file_system.h"
#include "common/base/check.h"
#include "common/base/ids.h"

namespace cairn::client::fuse {

struct FileHandle {
  InodeId inode;
  OpenMode mode = OpenMode::kRead;
};

inline OpenMode open_mode(int flags) {
  return (flags & O_ACCMODE) == O_RDONLY ? OpenMode::kRead : OpenMode::kWrite;
}

// Loop thread only.
template <class Handle>
class HandleTable {
 public:
  std::uint64_t add(Handle handle) {
    const std::uint64_t number = next_++;
    handles_.emplace(number, std::move(handle));
    return number;
  }
  // nullptr: no such handle.
  Handle* find(std::uint64_t number) {
    const auto it = handles_.find(number);
    return it == handles_.end() ? nullptr : &it->second;
  }
  void remove(std::uint64_t number) { handles_.erase(number); }
  std::size_t size() const { return handles_.size(); }
  auto& all() { return handles_; }

 private:
  std::unordered_map<std::uint64_t, Handle> handles_;
  std::uint64_t next_ = 1;
};

}  // namespace cairn::client::fuse
