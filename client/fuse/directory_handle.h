// DirectoryHandle: one open directory: a snapshot of its names, read a page at a time.
//
// Promises: an offset of readdir means the same entry for the life of the handle, until rewinddir()
//           (offset 0) makes a new snapshot. Names that exist from rewind to end appear exactly
//           once.
// Limits:   kPagesKept pages are in memory; an older page that is asked for again is read anew.
// Requires: the loop thread; one fill() at a time (the mutex).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/core/file_system.h"
#include "common/runtime/semaphore.h"

namespace cairn::client::fuse {

class DirectoryHandle {
 public:
  struct Entry {
    std::string name;
    std::uint64_t inode = 0;
    pb::FileType type = pb::TYPE_UNSET;
  };

  DirectoryHandle(runtime::Runtime& runtime, InodeId inode) : inode_(inode), mutex_(runtime) {}

  InodeId inode() const { return inode_; }
  // Hold it over rewind(), load() and entry().
  runtime::Mutex& mutex() { return mutex_; }

  void rewind();
  // Brings the page with entry `index` into memory. False: the directory ends before it.
  // Entries 0 and 1 are "." and "..".
  Task<Result<bool>> load(FileSystem* fs, std::uint64_t index);
  // The entry `index`; nullptr when it is not in memory (load() it, or the end).
  const Entry* entry(std::uint64_t index) const;

 private:
  static constexpr std::uint32_t kPageEntries = 2048;
  static constexpr std::size_t kPagesKept = 64;
  struct Page {
    std::uint64_t first = 0;  // index of its first entry
    std::uint64_t count = 0;  // entries when it was read
    std::string after;        // it holds the names after this one
    std::vector<Entry> entries;
    bool in_memory = false;
  };
  std::optional<std::size_t> page_of(std::uint64_t index) const;
  Task<Status> fetch(FileSystem* fs, std::size_t page);
  void drop_old_pages(std::size_t keep);

  InodeId inode_;
  runtime::Mutex mutex_;
  std::vector<Page> pages_;
  bool complete_ = false;
  std::string last_name_;
  std::size_t loaded_ = 0;
};

}  // namespace cairn::client::fuse
