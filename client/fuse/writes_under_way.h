// WritesUnderWay: keeps reads that fill kernel pages apart from writes to the same bytes.
//
// The kernel shows the bytes of a write in its pages at once, and unlocks whole pages while it
// waits for the answer. If such a page is dropped meanwhile (a lease was recalled) and read again
// before the write is done, programs would see the bytes of before again, and after write()
// returned they would stay. So:
//   - a read waits for the writes to its bytes that began before it, but not for long: a write that
//   waits for
//     space must not block a reader;
//   - what was read nevertheless is dropped before the write is answered. Never among it is the
//   page that the
//     write itself keeps locked: a read of that one waits in the kernel.
//
// Limits:   as many ranges as reads of the kernel while the write is under way.
// Requires: requests begin in the order of the kernel's queue (one thread reads the device). The
//           loop thread.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/units.h"
#include "common/runtime/completion.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

namespace cairn::client::fuse {

struct FileRange {
  std::uint64_t offset = 0;
  ByteCount length = 0;
  friend bool operator==(const FileRange&, const FileRange&) = default;
};

class WritesUnderWay {
 public:
  explicit WritesUnderWay(runtime::Runtime& runtime) : runtime_(runtime) {}

  struct Write {
    InodeId inode;
    std::uint64_t number = 0;
  };
  Write begin(InodeId inode, FileRange range);
  // True when before_read() has anything to do.
  bool any(InodeId inode) const { return writes_.contains(inode); }
  // Returns when the read may begin.
  Task<void> before_read(InodeId inode, FileRange range);
  // The ranges to drop before the write is answered.
  std::vector<FileRange> end(Write write);

 private:
  static constexpr Duration kPatience = 1s;
  struct State {
    std::uint64_t number = 0;
    FileRange range;
    std::vector<FileRange> read;
    std::vector<runtime::Completion<bool>> waiting;
  };
  State* find_overlapping(InodeId inode, FileRange range, std::uint64_t before);

  runtime::Runtime& runtime_;
  std::multimap<InodeId, State> writes_;
  std::uint64_t next_ = 1;
};

}  // namespace cairn::client::fuse
