// The writing half of PieceStore: is an op to be taken, where does it go, in which order.
#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/piece_store.h"

namespace cairn::chunkserver::store {
namespace {

// How often a PREPARE looks for room that settles and ending reads may bring, before it is refused.
constexpr int kRoomTriesMax = 32;

bool same_op(const PendingOp& held, const PrepareRequest& request) {
  return held.writes == request.writes && held.zeroes == request.zeroes &&
         held.crcs == request.crcs;
}

Error other_content(OpId op) {
  return Error(Code::kInvalidArgument, fmt::format("op {}.{} came before with other content",
                                                   op.epoch.raw(), op.seq.raw()));
}

}  // namespace

Status PieceStore::check_tombstone(const PrepareRequest& request) const {
  const auto it = tombstones_.find(request.piece);
  if (it == tombstones_.end() || request.version > it->second) return {};
  return fail(Code::kPieceMissing, "the piece was removed");
}

Result<PieceStore::Check> PieceStore::check(const PrepareRequest& request) const {
  const auto staged = staged_.find(request.piece);
  const bool removed = staged != staged_.end() && staged->second.removed;
  std::optional<PieceRow> row;
  if (!removed) {
    TRY(row, load_piece(kv_, request.piece));
  }
  FenceState fence;
  if (staged != staged_.end()) {
    fence = staged->second.fence;
  } else if (row.has_value()) {
    fence = row->fence;
  }
  const PrepareTicket ticket{request.version, request.op, request.settled_below, request.create};
  TRY(const PrepareVerdict verdict, check_prepare(fence, ticket));
  if (!fence.exists) {
    TRY_VOID(check_tombstone(request));
  }
  if (verdict == PrepareVerdict::kSettledBefore) return Check{Verdict::kDone, fence};
  std::size_t pending = 0;
  if (staged != staged_.end()) {
    const auto twin = staged->second.ops.find(request.op);
    if (twin != staged->second.ops.end()) {
      if (twin->second != content_digest(request.writes, request.zeroes, request.crcs))
        return fail(other_content(request.op));
      return Check{Verdict::kWait, fence};
    }
    pending += staged->second.ops.size();
  }
  if (row.has_value()) {
    pending += row->pending.size();
    for (const PendingOp& held : row->pending) {
      if (held.op != request.op) continue;
      if (same_op(held, request)) return Check{Verdict::kDone, fence};
      return fail(other_content(request.op));
    }
    for (const ForwardedOp& held : row->forwarded) {
      if (held.op == request.op) return Check{Verdict::kDone, fence};
    }
  }
  if (pending >= kPendingOpsMax) {
    return fail(Code::kOverloaded, fmt::format("{} undecided ops", pending));
  }
  return Check{Verdict::kTake, fence};
}

Task<Status> PieceStore::grow(std::uint64_t blocks) {
  const runtime::Semaphore::Permit guard = co_await grow_mutex_.lock();
  if (space_.free_blocks() >= blocks) co_return Status();
  const std::uint64_t missing = blocks - space_.free_blocks();
  const std::uint64_t limit = limit_blocks();
  if (limit - space_.end() < missing) {
    co_return fail(Code::kNoSpace, fmt::format("{} blocks are wanted, the store is full", blocks));
  }
  const std::uint64_t step = std::max(missing, options_.grow_bytes / kBlockBytes);
  const std::uint64_t target = std::min(limit, space_.end() + step);
  CO_TRY_VOID(co_await device_.grow(target * kBlockBytes));
  space_.extend(std::max(space_.end(), device_.size() / kBlockBytes));
  co_return Status();
}

Task<Status> PieceStore::make_room(std::uint64_t blocks) {
  Status grown = co_await grow(blocks);
  if (grown.has_value()) co_return Status();
  if (grown.error().code() != Code::kNoSpace) {
    fence_store(grown.error());
    co_return fail(std::move(grown).error());
  }
  // Settles under way and blocks that a read holds back may be enough.
  if (!journal_->busy() && !gate_.holds()) co_return fail(std::move(grown).error());
  co_await progress_.wait();
  co_return Status();
}

Task<Status> PieceStore::await_twin(PieceId piece, OpId op) {
  for (;;) {
    if (failure_.has_value()) co_return fail(*failure_);
    const auto staged = staged_.find(piece);
    if (staged == staged_.end() || !staged->second.ops.contains(op)) co_return Status();
    co_await progress_.wait();
  }
}

Task<Status> PieceStore::prepare(PrepareRequest request, Buffer body) {
  const std::uint64_t blocks = total_blocks(request.writes);
  if (body.size() != blocks * kBlockBytes || request.crcs.size() != blocks) {
    co_return fail(Code::kInvalidArgument, "the body does not match the ranges");
  }
  const runtime::Semaphore::Permit permit =
      co_await write_budget_.acquire(std::max<ByteCount>(body.size(), kBlockBytes));
  std::vector<Extent> extents;
  FenceState before;
  for (int tries = 0;; ++tries) {
    CO_TRY_VOID(usable());
    CO_TRY(const Check checked, check(request));
    if (checked.verdict == Verdict::kDone) co_return Status();
    before = checked.fence;
    if (checked.verdict == Verdict::kWait) co_return co_await await_twin(request.piece, request.op);
    Result<std::vector<Extent>> allocated = space_.allocate(blocks);
    if (allocated.has_value()) {
      extents = std::move(*allocated);
      break;
    }
    if (tries >= kRoomTriesMax) co_return fail(std::move(allocated).error());
    CO_TRY_VOID(co_await make_room(blocks));
  }
  // No suspension between the check and here: the op takes its place in the order.
  const PrepareTicket ticket{request.version, request.op, request.settled_below, request.create};
  PrepareRecord record;
  record.piece = request.piece;
  record.version = request.version;
  record.op = request.op;
  record.settled_below = request.settled_below;
  record.participants = request.participants;
  record.facts = request.facts;
  record.writes = std::move(request.writes);
  record.zeroes = std::move(request.zeroes);
  record.crcs = std::move(request.crcs);
  record.extents = std::move(extents);
  runtime::Completion<Status> done = submit(std::move(record), std::move(body),
                                            Journal::Urgency::kNow, after_prepare(before, ticket));
  co_return co_await done.wait();
}

}  // namespace cairn::chunkserver::store
