// FileConverter: the file held still: the rest is copied, the data exchanged.
#include <limits>
#include <utility>

#include "client/convert/file_converter.h"

namespace cairn::client::convert {

namespace {
constexpr std::uint32_t kChunksPerLook = 64;
constexpr Duration kLookAgain = 500ms;
constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max();

bool is_whole(const pb::Chunk& chunk) {
  if (chunk.writer_epoch() != 0) return false;
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() == pb::PIECE_MISSING) return false;
  }
  return true;
}
}  // namespace

Task<Result<bool>> FileConverter::is_whole() {
  std::uint64_t first = 0;
  for (;;) {
    CO_TRY_VOID(check());
    const Result<pb::GetChunksReply> map = co_await port_.chunks_of(shadow_, first, kChunksPerLook);
    if (!map.has_value()) co_return fail(map.error());
    if (map->chunks().empty()) co_return true;
    for (const pb::Chunk& chunk : map->chunks()) {
      if (!convert::is_whole(chunk)) co_return false;
      first = std::max(first, chunk.index() + 1);
    }
  }
}

// A chunk server may have been lost while we wrote: the master repairs what it had.
Task<Status> FileConverter::wait_whole() {
  const Deadline deadline = runtime_.after(kWholeWait);
  for (;;) {
    const Result<bool> whole = co_await is_whole();
    if (!whole.has_value()) co_return fail(whole.error());
    if (*whole) co_return Status();
    if (runtime_.now() >= deadline) {
      co_return fail(Code::kBusy, "pieces of the copy are missing and were not repaired in time");
    }
    co_await pause(kLookAgain);
  }
}

// Whatever takes too long ends with the hold.
Task<void> FileConverter::watch_hold(Deadline deadline, std::uint64_t number) {
  while (hold_number_ == number && runtime_.now() < deadline) {
    co_await changed_.wait_until(deadline);
  }
  if (hold_number_ == number) port_.let_go(source_, &hold_);
}

Task<Result<FileConverter::Held>> FileConverter::hold_and_swap() {
  Result<FileHold> hold = co_await port_.hold_still(source_);
  if (!hold.has_value()) co_return fail(std::move(hold).error());
  hold_ = std::move(*hold);
  holding_ = true;
  const Deadline deadline = runtime_.after(kHoldTime);
  const std::uint64_t number = ++hold_number_;
  tasks_.spawn(watch_hold(deadline, number));
  const Status rest = co_await copy_rest();
  holding_ = false;
  ++hold_number_;
  changed_.notify_all();
  if (!rest.has_value()) {
    port_.let_go(source_, &hold_);
    if (runtime_.now() < deadline) co_return fail(rest.error());
    co_return fail(Code::kBusy, "what changed last could not be copied in time");
  }
  const Status swapped = co_await port_.swap(&hold_, shadow_);
  if (swapped.has_value()) {
    log_.info("inode {}: its data was converted, {} bytes", source_.raw(), copied_);
    co_return Held::kSwapped;
  }
  if (swapped.error().code() == Code::kBusy) co_return Held::kAgain;
  co_return fail(swapped.error());
}

Task<Status> FileConverter::copy_rest() {
  std::vector<RangeWork> rest;
  ByteCount bytes = 0;
  std::uint64_t cursor = 0;
  while (cursor != kNoEnd) {
    CO_TRY_VOID(check());
    const Result<std::vector<RangeWork>> work = co_await look(&cursor);
    if (!work.has_value()) co_return fail(work.error());
    for (const RangeWork& one : *work) {
      // Its writer was lost, and the recovery is not over.
      if (!one.absent && !one.stamp.has_value()) {
        co_return fail(Code::kBusy, "a chunk of the file is open");
      }
      rest.push_back(one);
      bytes += plan_->bytes_of(one.index, size_);
    }
  }
  if (bytes > kHeldBytesMax) {
    co_return fail(Code::kBusy, "too much of the file changes while it is copied");
  }
  for (const RangeWork& one : rest) {
    const Status done = co_await bring_up(one);
    if (!done.has_value()) co_return done;
  }
  if (!unsettled_) co_return Status();
  const Status settled = co_await port_.settle_shadow(shadow_);
  if (settled.has_value()) unsettled_ = false;
  co_return settled;
}

}  // namespace cairn::client::convert
