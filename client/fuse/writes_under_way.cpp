#include "client/fuse/writes_under_way.h"

#include <optional>
#include <utility>

#include "common/base/check.h"

namespace cairn::client::fuse {

namespace {

bool overlap(const FileRange& a, const FileRange& b) {
  // No sums: a range may reach to the end of the 64-bit address space.
  return a.offset < b.offset ? b.offset - a.offset < a.length : a.offset - b.offset < b.length;
}

}  // namespace

WritesUnderWay::Write WritesUnderWay::begin(InodeId inode, FileRange range) {
  const std::uint64_t number = next_++;
  writes_.emplace(inode, State{.number = number, .range = range, .read = {}, .waiting = {}});
  return {inode, number};
}

WritesUnderWay::State* WritesUnderWay::find_overlapping(InodeId inode, FileRange range,
                                                        std::uint64_t before) {
  const auto [begin, end] = writes_.equal_range(inode);
  for (auto it = begin; it != end; ++it) {
    State& write = it->second;
    if (write.number < before && overlap(write.range, range)) return &write;
  }
  return nullptr;
}

Task<void> WritesUnderWay::before_read(InodeId inode, FileRange range) {
  const std::uint64_t arrival = next_;
  const Deadline deadline = runtime_.after(kPatience);
  while (State* const write = find_overlapping(inode, range, arrival)) {
    runtime::Completion<bool> over(runtime_);
    write->waiting.push_back(over);
    const std::optional<bool> done = co_await over.wait_until(deadline);
    if (!done) break;
  }
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
    const State state = std::move(it->second);
    writes_.erase(it);
    for (runtime::Completion<bool> waiting : state.waiting) waiting.set(true);
    return state.read;
  }
  CHECK(false);
  std::unreachable();
}

}  // namespace cairn::client::fuse
