#include "client/fuse/writes_under_way.h"

#include <utility>

#include "common/base/check.h"

namespace cairn::client::fuse {

namespace {

bool overlap(const FileRange& a, const FileRange& b) {
  // Lengths first: an offset + length may be the whole range of 64 bits.
  return a.offset < b.offset ? b.offset - a.offset < a.length : a.offset - b.offset < b.length;
}

}  // namespace

WritesUnderWay::Write WritesUnderWay::begin(InodeId inode, FileRange range) {
  const std::uint64_t number = next_++;
  writes_.emplace(inode, State{.number = number, .range = range, .read = {}});
  return {inode, number};
}

void WritesUnderWay::on_read(InodeId inode, FileRange range) {
  if (writes_.empty()) return;
  const auto [begin, end] = writes_.equal_range(inode);
  for (auto it = begin; it != end; ++it) {
    State& write = it->second;
    if (overlap(write.range, range)) write.read.push_back(range);
  }
}

std::vector<FileRange> WritesUnderWay::end(Write write) {
  const auto [begin, end] = writes_.equal_range(write.inode);
  for (auto it = begin; it != end; ++it) {
    if (it->second.number != write.number) continue;
    std::vector<FileRange> read = std::move(it->second.read);
    writes_.erase(it);
    return read;
  }
  CHECK(false);
  std::unreachable();
}

}  // namespace cairn::client::fuse
