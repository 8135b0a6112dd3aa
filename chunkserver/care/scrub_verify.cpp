// The scrubber at one piece: when to read, and what a failed read says.
#include <algorithm>
#include <utility>

#include "chunkserver/care/scrubber.h"

namespace cairn::chunkserver::care {
namespace {

constexpr Duration kPaused = 10s;
constexpr Duration kGiveWayStep = 20ms;
constexpr Duration kTaskPatience = 100ms;  // of each read of a named piece, while others are served

// Halves by blocks. Requires: more than one block.
std::pair<std::vector<store::BlockRange>, std::vector<store::BlockRange>> halve(
    const std::vector<store::BlockRange>& ranges) {
  std::uint64_t left = store::total_blocks(ranges) / 2;
  std::pair<std::vector<store::BlockRange>, std::vector<store::BlockRange>> halves;
  for (const store::BlockRange& range : ranges) {
    const std::uint64_t here = std::min(left, range.count);
    if (here != 0) halves.first.push_back({range.first, here});
    if (here != range.count) halves.second.push_back({range.first + here, range.count - here});
    left -= here;
  }
  return halves;
}

}  // namespace

Instant Scrubber::Pace::slot(std::uint64_t read) const {
  return begin + share / static_cast<std::int64_t>(reads) *
                     static_cast<std::int64_t>(std::min(read, reads));
}

Task<ScrubResult> Scrubber::verify(PieceId piece, Pace* pace) {
  ScrubResult result;
  const Result<std::uint64_t> blocks = co_await door_.blocks(piece);
  if (!blocks.has_value()) {
    result.failure = blocks.error();
    co_return result;
  }
  pace->reads = std::max<std::uint64_t>(1, div_ceil(*blocks, kScrubReadBlocks));
  std::uint64_t first = 0;
  for (std::uint64_t read = 0;; ++read) {
    Result<std::vector<store::BlockRange>> ranges =
        co_await door_.stored(piece, first, kScrubReadBlocks);
    if (!ranges.has_value()) {
      result.failure = ranges.error();
      co_return result;
    }
    if (ranges->empty()) co_return result;
    const bool mine = co_await take_turn(pace, read);
    if (!mine) {
      const std::optional<Error> failed = door_.failure();
      result.failure = failed.value_or(Error(Code::kCancelled, "the chunk server stops"));
      co_return result;
    }
    first = ranges->back().end();
    const std::uint64_t count = store::total_blocks(*ranges);
    std::vector<store::BlockRange> part = std::move(*ranges);
    const Result<std::uint64_t> damaged = co_await verify_ranges(piece, std::move(part));
    if (!damaged.has_value()) {
      result.failure = damaged.error();
      co_return result;
    }
    result.blocks += count;
    result.damaged += *damaged;
  }
}

Task<bool> Scrubber::take_turn(Pace* pace, std::uint64_t read) {
  const Instant asked = runtime_.now();
  while (!halted()) {
    if (pace->rotation && tasks_.waiting()) {
      co_await run_task();
      continue;
    }
    const Instant begin = pace->rotation ? pace->slot(read) : asked;
    const Instant end = pace->rotation ? pace->slot(read + 1) : asked + kTaskPatience;
    const Instant now = runtime_.now();
    if (pace->rotation && rate_ == 0) {
      // Switched off in the middle of a piece: that time is not its.
      co_await wait_until(now + kPaused);
      pace->begin = pace->begin + (runtime_.now() - now);
    } else if (now < begin) {
      co_await wait_until(begin);
    } else if (now < end && busy()) {
      co_await wait_until(now + kGiveWayStep);
    } else {
      co_return true;
    }
  }
  co_return false;
}

Task<Result<std::uint64_t>> Scrubber::verify_ranges(PieceId piece,
                                                    std::vector<store::BlockRange> ranges) {
  std::uint64_t damaged = 0;
  // A read that fails does not say how much of it is damaged: its halves are read.
  std::vector<std::vector<store::BlockRange>> parts;
  parts.push_back(std::move(ranges));
  while (!parts.empty()) {
    if (halted()) co_return fail(Code::kCancelled, "not all of it was read");
    std::vector<store::BlockRange> part = std::move(parts.back());
    parts.pop_back();
    const std::uint64_t blocks = store::total_blocks(part);
    std::vector<store::BlockRange> asked = part;
    const Result<store::ReadAnswer> answer = co_await door_.read(piece, std::move(asked));
    if (answer.has_value()) {
      blocks_verified_ += blocks;
      continue;
    }
    const Code code = answer.error().code();
    const bool bad = code == Code::kChecksumMismatch || code == Code::kDiskFailed;
    if (!bad || door_.failure().has_value()) co_return fail(answer.error());
    if (blocks == 1) {
      ++blocks_verified_;
      ++damaged_found_;
      ++damaged;
      continue;
    }
    auto [low, high] = halve(part);
    parts.push_back(std::move(high));
    parts.push_back(std::move(low));
  }
  co_return damaged;
}

}  // namespace cairn::chunkserver::care
