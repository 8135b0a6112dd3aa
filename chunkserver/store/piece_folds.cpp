// What PieceStore writes by itself: folds of deltas, and blocks that others healed.
#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/op_blocks.h"
#include "chunkserver/store/piece_store.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// Folds at a time: each holds the content of its blocks in memory.
constexpr std::size_t kFoldsMax = 8;
// After a fold that could not be done (no room, a damaged layer, a removal) the next look.
constexpr Duration kFoldRetry = 5s;
// So many deltas of one piece are folded without waiting for more.
constexpr std::size_t kFoldOpsSoon = 256;

}  // namespace

// A piece with decided deltas waits a little for more of them, then the upkeep folds it.
void PieceStore::fold_soon(PieceId piece) {
  if (closing_ || failure_.has_value() || folding_.contains(piece)) return;
  const auto known = fold_due_.find(piece);
  const bool hurried = known != fold_due_.end() && known->second <= runtime_.now();
  if (hurried) return;
  const Result<const PieceRow*> row = table_->piece(piece);
  if (!row.has_value() || *row == nullptr) return;
  const std::size_t waiting = unfolded_ops(**row);
  if (waiting == 0) return;
  if (waiting >= kFoldOpsSoon) {
    fold_after(piece, Duration{});
  } else if (known == fold_due_.end()) {
    fold_after(piece, options_.fold_delay);
  }
}

void PieceStore::fold_after(PieceId piece, Duration delay) {
  const auto known = fold_due_.find(piece);
  if (known != fold_due_.end()) fold_queue_.erase({known->second, piece});
  const Instant due = runtime_.after(delay);
  fold_due_[piece] = due;
  fold_queue_.emplace(due, piece);
  wake_upkeep();
}

// Begins the folds that are due. When room in the ring or on the drive is short all of them are.
void PieceStore::start_folds() {
  const bool hurry = pressure_ || space_short_ != 0;
  while (!fold_queue_.empty() && folding_.size() < kFoldsMax) {
    const auto [due, piece] = *fold_queue_.begin();
    // One that could not be done lately keeps its pause.
    const bool hurried = hurry && due <= runtime_.after(options_.fold_delay);
    if (!hurried && due > runtime_.now()) return;
    fold_queue_.erase(fold_queue_.begin());
    fold_due_.erase(piece);
    folding_.insert(piece);
    group_.spawn(fold_piece(this, piece));
  }
}

Task<void> PieceStore::fold_piece(PieceStore* self, PieceId piece) {
  bool more = true;
  Status folded;
  while (more && folded.has_value() && self->usable().has_value()) {
    folded = co_await self->fold_once(piece, &more);
  }
  self->folding_.erase(piece);
  if (!folded.has_value() && self->usable().has_value()) {
    if (folded.error().code() != Code::kPieceMissing) {
      self->log_.warning("piece {}.{} cannot be folded now: {}", piece.chunk.raw(),
                         piece.index.raw(), folded.error().to_string());
    }
    self->fold_after(piece, kFoldRetry);
  }
  self->progress_.notify_all();
  self->wake_upkeep();
}

Task<Status> PieceStore::fold_once(PieceId piece, bool* more) {
  *more = false;
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return Status();
  const std::optional<FoldPlan> plan = plan_fold(*row);
  if (!plan.has_value()) co_return Status();
  *more = true;
  std::vector<BlockRange> blocks = plan->blocks;
  CO_TRY(Content content, co_await read_content(piece, std::move(blocks), plan->through, true));
  FoldRecord record;
  record.piece = piece;
  record.through = plan->through;
  record.blocks = std::move(content.present);
  record.payload.crcs = std::move(content.crcs);
  if (total_blocks(record.blocks) != total_blocks(plan->blocks)) {
    // Removed and made again while it was read.
    co_return Status();
  }
  FAULT_POINT("store.fold.read");
  CO_TRY_VOID(co_await submit_payload(std::move(record), std::move(content.bytes)));
  FAULT_POINT("store.fold.durable");
  ++rmw_;
  jrmw_ += plan->delta_ops - 1;
  co_return Status();
}

namespace {

Payload& payload_in(Record& record) {
  if (auto* fold = std::get_if<FoldRecord>(&record)) return fold->payload;
  auto* heal = std::get_if<HealRecord>(&record);
  CHECK(heal != nullptr);
  return heal->payload;
}

}  // namespace

// Without waiting for room: what others wait for may be this very fold.
Task<Result<std::vector<Extent>>> PieceStore::allocate_now(std::uint64_t blocks) {
  CO_TRY_VOID(usable());
  Result<std::vector<Extent>> allocated = space_.allocate(blocks);
  if (!allocated.has_value()) {
    CO_TRY_VOID(co_await grow(blocks));
    CO_TRY_VOID(usable());
    allocated = space_.allocate(blocks);
  }
  co_return allocated;
}

Task<Status> PieceStore::submit_payload(Record record, Buffer body) {
  const PieceId piece = piece_of(record);
  CO_TRY(std::vector<Extent> extents, co_await allocate_now(body.size() / kBlockBytes));
  const bool journaled = is_journaled(body.size(), false);
  const bool direct = !journaled && !body.empty();
  if (direct) {
    std::vector<Extent> homes = extents;
    CO_TRY_VOID(co_await write_home(std::move(homes), std::move(body)));
    body = Buffer();
  }
  bool durable = !direct;
  do {
    if (lacks_flush(durable)) {
      CO_TRY_VOID(co_await flush_home());
      durable = true;
    }
    CO_TRY_VOID(co_await load(piece, {}));
  } while (lacks_flush(durable));
  Status ready = usable();
  const auto staged = staged_.find(piece);
  const bool removed = staged != staged_.end() && staged->second.removals != 0;
  Result<FenceState> fence = fence_of(piece);
  if (ready.has_value() && (removed || !fence.has_value() || !fence->exists)) {
    ready = fail(Code::kPieceMissing, "the piece was removed meanwhile");
  }
  if (ready.has_value()) ready = still_fits(record);
  if (!ready.has_value()) {
    give_back(extents);
    co_return ready;
  }
  Payload& payload = payload_in(record);
  payload.extents = std::move(extents);
  payload.journaled = journaled;
  Answer done = submit(std::move(record), std::move(body), Journal::Urgency::kNow, *fence);
  co_return co_await done.wait();
}

// What PieceIndex asks of a fold.
bool fits(const PieceRow& row, const FoldRecord& fold) {
  std::size_t count = 0;
  while (count < row.pending.size() && row.pending[count].op <= fold.through) ++count;
  return count != 0 && row.pending[count - 1].op == fold.through &&
         row.pending[count - 1].decided && delta_topped(row.pending, count) == merged(fold.blocks);
}

// The piece may have been removed, and made anew, since the record was thought of.
Status PieceStore::still_fits(const Record& record) {
  const auto* fold = std::get_if<FoldRecord>(&record);
  if (fold == nullptr) return {};
  TRY(const PieceRow* const row, table_->piece(fold->piece));
  if (row != nullptr && fits(*row, *fold)) return {};
  return fail(Code::kPieceMissing, "the piece changed while it was folded");
}

Task<Status> PieceStore::heal(PieceId piece, std::vector<DamagedBlock> blocks, Buffer body) {
  if (body.size() != blocks.size() * kBlockBytes || blocks.size() > kPrepareBlocksMax) {
    co_return fail(Code::kInvalidArgument, "the body does not match the blocks");
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const bool in_order = i == 0 || blocks[i - 1].block < blocks[i].block;
    if (!in_order || blocks[i].piece != piece || blocks[i].block >= kPieceBlocksMax) {
      co_return fail(Code::kInvalidArgument, "blocks to heal: of one piece, each once, in order");
    }
  }
  std::vector<BlockRange> ranges;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Bytes bytes = std::as_const(body).span().subspan(i * kBlockBytes, kBlockBytes);
    if (crc32c(bytes) != blocks[i].crc) {
      co_return fail(Code::kChecksumMismatch,
                     fmt::format("this is not the content of block {}", blocks[i].block));
    }
    if (!ranges.empty() && ranges.back().end() == blocks[i].block) {
      ++ranges.back().count;
    } else {
      ranges.push_back({blocks[i].block, 1});
    }
  }
  CO_TRY_VOID(usable());
  CO_TRY_VOID(co_await load(piece, ranges));
  HealRecord record;
  record.piece = piece;
  record.blocks = ranges;
  for (const DamagedBlock& block : blocks) {
    record.old_homes.push_back(block.home);
    record.payload.crcs.push_back(block.crc);
  }
  FAULT_POINT("store.heal.checked");
  const auto count_known = [&] {
    return std::count_if(blocks.begin(), blocks.end(),
                         [&](const DamagedBlock& b) { return damaged_.contains(b.home); });
  };
  const auto before = count_known();
  CO_TRY_VOID(co_await submit_payload(std::move(record), std::move(body)));
  FAULT_POINT("store.heal.durable");
  // What was moved is gone from the list: its old home was freed.
  healed_blocks_ += static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(before - count_known(), 0));
  co_return Status();
}

}  // namespace cairn::chunkserver::store
