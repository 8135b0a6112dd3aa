// WritesUnderWay: which reads filled kernel pages while a write to the same bytes was under way.
//
// The kernel unlocks whole pages while it waits for the answer of a write. If such a page is dropped meanwhile (a
// lease was recalled) and read again before the write is done, it holds the bytes of before, and would stay
// after write() returned. So those ranges are dropped before the write is answered. They never contain the
// page that the write itself keeps locked: a read of that one waits in the kernel.
//
// Limits:   as many ranges as reads of the kernel while the write is under way.
// Requires: requests begin in the order of the kernel's queue (one thread reads the device).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/units.h"

namespace cairn::client::fuse {

struct FileRange {
  std::uint64_t offset = 0;
  ByteCount length = 0;
  friend bool operator==(const FileRange&, const FileRange&) = default;
};

class WritesUnderWay {
 public:
  struct Write {
    InodeId inode;
    std::uint64_t number = 0;
  };
  // An append may write anywhere: `range` is then the whole file.
  Write begin(InodeId inode, FileRange range);
  void on_read(InodeId inode, FileRange range);
  // The ranges to drop before the write is answered.
  std::vector<FileRange> end(Write write);

 private:
  struct State {
    std::uint64_t number = 0;
    FileRange range;
    std::vector<FileRange> read;
  };
  std::multimap<InodeId, State> writes_;
  std::uint64_t next_ = 1;
};

}  // namespace cairn::client::fuse
