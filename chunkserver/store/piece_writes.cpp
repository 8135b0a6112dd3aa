// The writing half of PieceStore: is an op to be taken, where does it go, in which order.
#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/piece_store.h"
#include "chunkserver/store/range_codec.h"
#include "common/base/check.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// How long a PREPARE looks for room that settles, folds and ending reads may bring.
constexpr Duration kRoomWait = 2s;

bool same_op(const PendingOp& held, const PrepareRequest& request) {
  return held.writes == request.writes && held.zeroes == request.zeroes &&
         held.deltas == request.deltas && held.crcs == request.crcs;
}

// What the decoders of journal and rows demand.
bool is_orderly(const std::vector<BlockRange>& ranges) {
  std::uint64_t past = 0;
  for (const BlockRange& range : ranges) {
    if (range.count == 0 || range.first < past || range.end() > kPieceBlocksMax) return false;
    past = range.end();
  }
  return true;
}

PrepareTicket ticket_of(const PrepareRequest& request) {
  return {request.version, request.op, request.settled_below, request.create, request.copy};
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

Result<PieceStore::Check> PieceStore::check(const PrepareRequest& request) {
  const auto staged = staged_.find(request.piece);
  const bool removed = staged != staged_.end() && staged->second.removals != 0;
  const PieceRow* row = nullptr;
  if (!removed) {
    TRY(row, table_->piece(request.piece));
  }
  FenceState fence;
  if (staged != staged_.end()) {
    fence = staged->second.fence;
  } else if (row != nullptr) {
    fence = row->fence;
  }
  const PrepareTicket ticket = ticket_of(request);
  TRY(const PrepareVerdict verdict, check_prepare(fence, ticket));
  if (!fence.exists) {
    TRY_VOID(check_tombstone(request));
  }
  if (verdict == PrepareVerdict::kSettledBefore) return Check{Verdict::kDone, fence};
  std::size_t pending = 0;
  if (staged != staged_.end()) {
    if (const Staged::Op* const twin = staged->second.find(request.op)) {
      if (twin->digest !=
          content_digest(request.writes, request.zeroes, request.deltas, request.crcs))
        return fail(other_content(request.op));
      return Check{Verdict::kWait, fence};
    }
    pending += staged->second.ops.size();
  }
  if (row != nullptr) {
    pending += row->pending.size();
    const auto held = std::lower_bound(row->pending.begin(), row->pending.end(), request.op,
                                       [](const PendingOp& a, OpId op) { return a.op < op; });
    if (held != row->pending.end() && held->op == request.op) {
      if (same_op(*held, request)) return Check{Verdict::kDone, fence};
      return fail(other_content(request.op));
    }
    for (const ForwardedOp& forwarded : row->forwarded) {
      if (forwarded.op == request.op) return Check{Verdict::kDone, fence};
    }
  }
  if (pending >= kPendingOpsMax) {
    return fail(Code::kOverloaded, fmt::format("{} ops are not settled", pending));
  }
  return Check{Verdict::kTake, fence};
}

std::uint64_t PieceStore::limit_blocks() const {
  const ByteCount device = device_.size_limit();
  const ByteCount limit = options_.size_bytes == 0 ? device : std::min(device, options_.size_bytes);
  return std::max(limit / kBlockBytes, space_.end());
}

Task<Status> PieceStore::grow(std::uint64_t blocks) {
  // Who comes while the file grows goes on together with the others.
  while (growing_ && !failure_.has_value()) co_await progress_.wait();
  if (failure_.has_value()) co_return fail(*failure_);
  if (space_.free_blocks() >= blocks) co_return Status();
  const std::uint64_t missing = blocks - space_.free_blocks();
  const std::uint64_t limit = limit_blocks();
  if (limit - space_.end() < missing) {
    co_return fail(Code::kNoSpace, fmt::format("{} blocks are wanted, the store is full", blocks));
  }
  const std::uint64_t step = std::max(missing, options_.grow_bytes / kBlockBytes);
  const std::uint64_t target = std::min(limit, space_.end() + step);
  growing_ = true;
  Status grown = co_await device_.grow(target * kBlockBytes);
  growing_ = false;
  progress_.notify_all();
  if (!grown.has_value()) co_return grown;
  FAULT_POINT("store.grow");
  space_.extend(std::max(space_.end(), device_.size() / kBlockBytes));
  co_return Status();
}

Task<Status> PieceStore::make_room(std::uint64_t blocks) {
  Status grown = co_await grow(blocks);
  if (grown.has_value()) co_return Status();
  if (grown.error().code() != Code::kNoSpace) {
    fence(grown.error());  // or it was that already
    co_return fail(std::move(grown).error());
  }
  // Settles under way, folds and blocks that a read holds back may be enough.
  if (!journal_->busy() && !gate_.holds() && withheld_.empty() && folding_.empty() &&
      fold_queue_.empty()) {
    co_return fail(std::move(grown).error());
  }
  ++space_short_;
  wake_upkeep();
  co_await progress_.wait();
  --space_short_;
  co_return Status();
}

std::uint64_t PieceStore::reserve_blocks() const {
  return std::min(kUpkeepReserveBlocks, limit_blocks() / 16);
}

// Asks the filesystem for its limit only when room is short: that is a system call.
bool PieceStore::has_room(std::uint64_t blocks) const {
  const std::uint64_t free = space_.free_blocks();
  if (free >= blocks + kUpkeepReserveBlocks) return true;
  return free >= blocks && free - blocks >= reserve_blocks();
}

Result<std::vector<Extent>> PieceStore::try_allocate(std::uint64_t blocks) {
  if (blocks != 0 && !has_room(blocks)) {
    return fail(Code::kNoSpace, fmt::format("{} blocks are wanted, the store is full", blocks));
  }
  return space_.allocate(blocks);
}

Task<Result<std::vector<Extent>>> PieceStore::allocate(std::uint64_t blocks) {
  const Instant until = runtime_.after(kRoomWait);
  for (;;) {
    CO_TRY_VOID(usable());
    Result<std::vector<Extent>> allocated = try_allocate(blocks);
    if (allocated.has_value() || runtime_.now() >= until) co_return allocated;
    CO_TRY_VOID(co_await make_room(blocks + reserve_blocks()));
  }
}

void PieceStore::give_back(const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) {
    const Status freed = space_.free(extent);
    CHECK(freed.has_value());
  }
  if (!extents.empty()) progress_.notify_all();
}

Task<Status> PieceStore::await_twin(const PrepareRequest* request) {
  for (;;) {
    CO_TRY(const Check now, co_await load_and_check(request));
    if (now.verdict == Verdict::kDone) co_return Status();
    if (now.verdict == Verdict::kTake) {
      co_return fail(Code::kNoSpace, "the journal refused this op");
    }
    co_await progress_.wait();
    if (failure_.has_value()) co_return fail(*failure_);
  }
}

bool PieceStore::is_journaled(ByteCount body, bool deltas) const {
  if (body == 0) return false;
  const ByteCount most = std::min(options_.journal_write_max, ring_->blocks() * kBlockBytes / 4);
  // A delta will be folded: a home of its own would be written for nothing.
  return (superblock_.ring.journal || deltas) && body <= most;
}

void PieceStore::count_unaligned(const PrepareRequest& request, bool journaled) {
  if (!request.unaligned) return;
  if (journaled || !superblock_.ring.journal) {
    ++jrmw_;
  } else {
    ++rmw_;
  }
}

Task<void> PieceStore::write_unawaited(PieceStore* self, std::vector<Extent> extents, Buffer body) {
  const Status status = co_await self->direct_writes_.write(std::move(extents), std::move(body));
  ignore(status, "a planted bug");
}

Task<Status> PieceStore::write_home(std::vector<Extent> extents, Buffer body) {
  if (options_.sabotage.early_record) {
    group_.spawn(write_unawaited(this, std::move(extents), std::move(body)));
    co_return Status();
  }
  Status status = co_await direct_writes_.write(std::move(extents), std::move(body));
  FAULT_POINT("store.direct.written");
  if (!status.has_value()) fence(status.error());
  co_return status;
}

Task<Status> PieceStore::flush_home() {
  Status status = co_await data_flush_.flush();
  FAULT_POINT("store.direct.flushed");
  if (!status.has_value()) fence(status.error());
  co_return status;
}

Task<Result<PieceStore::Check>> PieceStore::load_and_check(const PrepareRequest* request) {
  // The segments are for the apply: read here, they do not stop the journal there.
  std::vector<BlockRange> ranges = request->writes;
  CO_TRY_VOID(co_await load(request->piece, std::move(ranges)));
  CO_TRY_VOID(usable());
  co_return check(*request);
}

bool PieceStore::has_turn(ByteCount bytes, std::uint64_t journaled) const {
  return write_budget_.waiting() == 0 && write_budget_.available() >= bytes &&
         has_place(journaled) && usable().has_value();
}

// The ring cannot hide more from the drive than memory can account for.
bool PieceStore::has_place(std::uint64_t journaled) const {
  return (journaled == 0 || homes_.homeless() + journaled <= kHomelessBlocksMax) &&
         table_->dirty_bytes() <= options_.dirty_bytes_max;
}

Task<Result<runtime::Semaphore::Permit>> PieceStore::await_turn(ByteCount bytes,
                                                                std::uint64_t journaled) {
  runtime::Semaphore::Permit permit =
      co_await write_budget_.acquire_until(bytes, runtime_.after(kFenceLook));
  while (!permit.held()) {
    CO_TRY_VOID(usable());
    permit = co_await write_budget_.acquire_until(bytes, runtime_.after(kFenceLook));
  }
  while (usable().has_value() && !has_place(journaled)) {
    wake_upkeep();
    co_await progress_.wait();
  }
  CO_TRY_VOID(usable());
  co_return std::move(permit);
}

Status PieceStore::check_shape(const PrepareRequest& request, const Buffer& body) {
  const std::uint64_t blocks = total_blocks(request.writes) + total_blocks(request.deltas);
  if (body.size() != blocks * kBlockBytes || request.crcs.size() != blocks) {
    return fail(Code::kInvalidArgument, "the body does not match the ranges");
  }
  if (!apart(request.writes, request.zeroes) || !apart(request.writes, request.deltas) ||
      !apart(request.zeroes, request.deltas)) {
    return fail(Code::kInvalidArgument, "a block is named twice");
  }
  if (!is_orderly(request.writes) || !is_orderly(request.zeroes) || !is_orderly(request.deltas)) {
    return fail(Code::kInvalidArgument, "the ranges are not sorted, or not inside the piece");
  }
  return {};
}

Task<Result<PieceStore::Check>> PieceStore::place(const PrepareRequest* request, const Buffer* body,
                                                  bool direct, std::vector<Extent>* extents) {
  if (extents->empty()) {
    CO_TRY(*extents, co_await allocate(body->size() / kBlockBytes));
  }
  // A failure in here fences: nothing is given back any more.
  if (direct) {
    std::vector<Extent> homes = *extents;
    Buffer blocks = *body;
    CO_TRY_VOID(co_await write_home(std::move(homes), std::move(blocks)));
  }
  bool durable = !direct;
  Result<Check> checked = Check{Verdict::kDone, FenceState()};
  do {
    if (lacks_flush(durable)) {
      CO_TRY_VOID(co_await flush_home());
      durable = true;
    }
    // Meanwhile the piece may have been sealed or removed, a repeat of this op may have overtaken
    // it, or the ring may have moved to a device of its own.
    checked = co_await load_and_check(request);
  } while (checked.has_value() && lacks_flush(durable));
  if (!checked.has_value() || checked->verdict != Verdict::kTake) give_back(*extents);
  co_return checked;
}

namespace {

PrepareRecord record_of(PrepareRequest&& request, std::vector<Extent> extents, bool journaled) {
  PrepareRecord record;
  record.piece = request.piece;
  record.version = request.version;
  record.op = request.op;
  record.settled_below = request.settled_below;
  record.participants = request.participants;
  record.facts = request.facts;
  record.writes = std::move(request.writes);
  record.zeroes = std::move(request.zeroes);
  record.deltas = std::move(request.deltas);
  record.payload = {std::move(extents), std::move(request.crcs), journaled};
  record.copy = request.copy;
  return record;
}

}  // namespace

Task<Status> PieceStore::prepare(PrepareRequest request, Buffer body) {
  CO_TRY_VOID(check_shape(request, body));
  const std::uint64_t blocks = body.size() / kBlockBytes;
  const bool journaled = is_journaled(body.size(), !request.deltas.empty());
  const bool direct = blocks != 0 && !journaled;
  const ByteCount bytes = std::max<ByteCount>(body.size(), kBlockBytes);
  runtime::Semaphore::Permit permit;
  if (has_turn(bytes, journaled ? blocks : 0)) {
    permit = co_await write_budget_.acquire(bytes);
  } else {
    CO_TRY(permit, co_await await_turn(bytes, journaled ? blocks : 0));
  }
  Result<Check> checked = Check{Verdict::kDone, FenceState()};
  if (table_->has(request.piece, request.writes)) {
    checked = check(request);
  } else {
    checked = co_await load_and_check(&request);
  }
  std::vector<Extent> extents;
  if (checked.has_value() && checked->verdict == Verdict::kTake && blocks != 0) {
    Result<std::vector<Extent>> homes = try_allocate(blocks);
    if (homes.has_value()) extents = std::move(*homes);
    if (extents.empty() || direct) checked = co_await place(&request, &body, direct, &extents);
  }
  if (!checked.has_value()) co_return fail(checked.error());
  if (checked->verdict == Verdict::kDone) co_return Status();
  if (checked->verdict == Verdict::kWait) {
    co_return co_await await_twin(&request);
  }
  // No suspension between the check and the submission: the op takes its place in the order.
  count_unaligned(request, journaled);
  if (direct) body = Buffer();
  const PrepareTicket ticket = ticket_of(request);
  Answer done =
      submit(record_of(std::move(request), std::move(extents), journaled), std::move(body),
             Journal::Urgency::kNow, after_prepare(checked->fence, ticket));
  co_return co_await done.wait();
}

}  // namespace cairn::chunkserver::store
