#include "chunkserver/store/piece_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/op_blocks.h"
#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::size_t kTombstonesMax = 65536;

RecoveryOptions recovery_options(const StoreOptions& options) {
  RecoveryOptions recovery;
  recovery.ring.blocks =
      std::clamp(options.journal_bytes / kBlockBytes, kRingBlocksMin, kRingBlocksMax);
  recovery.ring.directory = options.journal_directory;
  recovery.ring.journal = options.journal;
  recovery.open_ring = options.open_ring;
  recovery.remove_ring = options.remove_ring;
  recovery.table.cache_bytes = options.cache_bytes;
  recovery.table.offload = options.offload;
  recovery.keep_bytes = options.keep_bytes;
  recovery.sabotage = options.sabotage;
  return recovery;
}

}  // namespace

Task<Result<std::unique_ptr<PieceStore>>> PieceStore::open(runtime::Runtime* runtime,
                                                           io::BlockDevice* device, kv::Kv* kv,
                                                           observe::Log* log,
                                                           StoreOptions options) {
  RecoveryOptions recovery = recovery_options(options);
  CO_TRY(RecoveredStore recovered, co_await recover(runtime, device, kv, std::move(recovery)));
  if (recovered.batches != 0) {
    log->info("recovery: {} journal batches replayed, {} unfinished ops dropped", recovered.batches,
              recovered.dropped);
  }
  if (recovered.left_over.has_value()) {
    log->warning("the journal before the last move is left over: {}",
                 recovered.left_over->to_string());
  }
  const std::set<PieceId> touched = std::move(recovered.touched);
  std::unique_ptr<PieceStore> store(
      new PieceStore(*runtime, *device, *kv, *log, std::move(options), std::move(recovered)));
  // Deltas that were decided and not folded when the last life ended; others are seen when loaded.
  for (const PieceId piece : touched) store->fold_soon(piece);
  store->group_.spawn(store->run_upkeep());
  co_return std::move(store);
}

PieceStore::PieceStore(runtime::Runtime& runtime, io::BlockDevice& device, kv::Kv& kv,
                       observe::Log& log, StoreOptions options, RecoveredStore recovered)
    : runtime_(runtime),
      device_(device),
      kv_(kv),
      log_(log),
      options_(std::move(options)),
      superblock_(std::move(recovered.superblock)),
      ring_(std::move(recovered.ring)),
      table_(std::move(recovered.table)),
      homes_(std::move(recovered.homes)),
      space_(std::move(recovered.space)),
      homer_(runtime, device, homes_, gate_),
      data_flush_(runtime, device),
      direct_writes_(runtime, device),
      applied_(recovered.applied),
      tail_(recovered.tail),
      last_batch_(runtime.now()),
      last_checkpoint_(runtime.now()),
      write_budget_(runtime, options_.write_budget),
      read_budget_(runtime, options_.read_budget),
      checkpoint_mutex_(runtime),
      homing_mutex_(runtime),
      progress_(runtime),
      group_(runtime) {
  Journal::Hooks hooks;
  hooks.ack_before_flush = options_.sabotage.ack_before_flush;
  hooks.flush_own_only = options_.sabotage.flush_own_only;
  hooks.apply = [this](const CommittedBatch* batch) { return apply(batch); };
  hooks.on_pressure = [this] {
    pressure_ = true;
    wake_upkeep();
  };
  hooks.on_refused = [this](const Record& record) { withdraw(record); };
  hooks.on_failure = [this](const Error& error) { fence(error); };
  journal_ = std::make_unique<Journal>(runtime, *ring_, applied_, std::move(recovered.live),
                                       std::move(hooks));
}

PieceStore::~PieceStore() { CHECK(closing_); }

Status PieceStore::usable() const {
  if (failure_.has_value()) return fail(*failure_);
  if (closing_) return fail(Code::kUnavailable, "the chunk server is stopping");
  return {};
}

Task<Status> PieceStore::load(PieceId piece, std::vector<BlockRange> ranges) {
  if (table_->has(piece, ranges)) co_return Status();
  Status loaded = co_await table_->load(piece, std::move(ranges));
  if (!loaded.has_value()) fence(loaded.error());
  // Deltas that were decided in an earlier life wait for nobody else.
  if (loaded.has_value()) fold_soon(piece);
  co_return loaded;
}

const PieceStore::Staged::Op* PieceStore::Staged::find(OpId op) const {
  const auto at = std::ranges::lower_bound(ops, op, {}, &Op::op);
  return at != ops.end() && at->op == op ? &*at : nullptr;
}

Result<FenceState> PieceStore::fence_of(PieceId piece) {
  const auto it = staged_.find(piece);
  if (it != staged_.end()) return it->second.fence;
  TRY(const PieceRow* const row, table_->piece(piece));
  return row != nullptr ? row->fence : FenceState();
}

Answer PieceStore::submit(Record record, Buffer body, Journal::Urgency urgency, FenceState after) {
  const PieceId piece = piece_of(record);
  Staged& staged = staged_[piece];
  staged.fence = after;
  ++staged.records;
  if (const auto* prepare = std::get_if<PrepareRecord>(&record)) {
    const auto at = std::ranges::lower_bound(staged.ops, prepare->op, {}, &Staged::Op::op);
    staged.ops.insert(at, {prepare->op, content_digest(prepare->writes, prepare->zeroes,
                                                       prepare->deltas, prepare->payload.crcs)});
  }
  if (std::holds_alternative<RemoveRecord>(record)) ++staged.removals;
  ++submitted_;
  return journal_->submit(std::move(record), std::move(body), urgency);
}

void PieceStore::fence(const Error& error) {
  if (failure_.has_value()) return;
  failure_ = error;
  log_.error("the store is fenced: {}", error.to_string());
  journal_->abort(error);
  data_flush_.abort(error);
  direct_writes_.abort(error);
  progress_.notify_all();
  wake_upkeep();
}

Task<Status> PieceStore::settle(PieceId piece, OpId below, ChunkVersion version) {
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  CO_TRY(const bool news, check_settle(fence, below, version));
  if (!news) co_return Status();
  const OpId mark = mark_of_settle(fence, below);
  Answer done = submit(SettleRecord{piece, mark, version}, Buffer(), Journal::Urgency::kSoon,
                       after_settle(fence, mark, version));
  // Nobody waits for it: an op that is settled late is settled all the same.
  static_cast<void>(done);
  co_return Status();
}

Task<Result<SealAnswer>> PieceStore::seal(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                                          bool copy) {
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  CO_TRY(const bool news, check_seal(fence, version, epoch, copy));
  if (news) {
    Answer done = submit(SealRecord{piece, version, epoch, copy}, Buffer(), Journal::Urgency::kNow,
                         after_seal(fence, version, epoch, copy));
    CO_TRY_VOID(co_await done.wait());
  }
  // A seal that is repeated while the first is under way answers what is durable, too.
  while (staged_.contains(piece) && !failure_.has_value()) co_await progress_.wait();
  CO_TRY_VOID(co_await load(piece, {}));
  if (failure_.has_value()) co_return fail(*failure_);
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "the piece was removed");
  SealAnswer answer;
  answer.settled = row->fence.settled;
  for (const PendingOp& op : row->pending) {
    // A decided one only waits for its fold; a forwarded one is listed below.
    if (!op.decided) answer.undecided.push_back({op.op, op.participants, false, hull_of(op)});
  }
  for (const ForwardedOp& op : row->forwarded) {
    const auto held = std::ranges::find(row->pending, op.op, &PendingOp::op);
    const BlockRange hull =
        held != row->pending.end() ? hull_of(*held) : BlockRange{0, kPieceBlocksMax};
    answer.undecided.push_back({op.op, op.participants, true, hull});
  }
  answer.touched = undecided_blocks(*row);
  std::sort(answer.undecided.begin(), answer.undecided.end(),
            [](const UndecidedOp& a, const UndecidedOp& b) { return a.op < b.op; });
  co_return answer;
}

Task<Status> PieceStore::resolve(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                                 std::vector<OpId> forward) {
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  CO_TRY_VOID(check_resolve(fence, version, epoch));
  std::sort(forward.begin(), forward.end());
  ResolveRecord record{piece, epoch, std::move(forward)};
  Answer done = submit(std::move(record), Buffer(), Journal::Urgency::kNow, fence);
  co_return co_await done.wait();
}

void PieceStore::bury(PieceId piece, ChunkVersion most) {
  const auto [at, fresh] = tombstones_.try_emplace(piece, most);
  at->second = std::max(at->second, most);
  if (fresh) tombstone_order_.push_back(piece);
  if (tombstone_order_.size() <= kTombstonesMax) return;
  tombstones_.erase(tombstone_order_.front());
  tombstone_order_.pop_front();
}

Task<Status> PieceStore::remove(PieceId piece, std::optional<ChunkVersion> most) {
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY_VOID(usable());
  CO_TRY(FenceState fence, fence_of(piece));
  // A removal under way must be durable before this one says so, and so must what made it newer.
  const auto is_meant = [most](const FenceState& state) {
    return state.exists && (!most.has_value() || state.version <= *most);
  };
  while (!is_meant(fence) && staged_.contains(piece)) {
    CO_TRY(const PieceRow* const row, table_->piece(piece));
    if (fence.exists && row != nullptr && !is_meant(row->fence)) break;
    co_await progress_.wait();
    CO_TRY_VOID(co_await load(piece, {}));
    CO_TRY_VOID(usable());
    CO_TRY(fence, fence_of(piece));
  }
  if (!is_meant(fence)) co_return Status();
  // No suspension between the check and the submission.
  bury(piece, fence.version);
  Answer done = submit(RemoveRecord{piece}, Buffer(), Journal::Urgency::kNow, FenceState());
  co_return co_await done.wait();
}

Task<Result<PieceStatusAnswer>> PieceStore::status(PieceId piece) {
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY_VOID(usable());
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "there is no such piece here");
  const auto undecided = std::count_if(row->pending.begin(), row->pending.end(),
                                       [](const PendingOp& op) { return !op.decided; });
  co_return PieceStatusAnswer{row->fence.version, row->fence.epoch, row->blocks,
                              static_cast<std::uint32_t>(undecided), row->fence.copy};
}

StoreStatistics PieceStore::statistics() const {
  const std::uint64_t limit = limit_blocks();
  const Counters& counters = table_->counters();
  StoreStatistics statistics;
  statistics.space_bytes = device_.space();
  if (options_.size_bytes != 0) {
    statistics.space_bytes = std::min(statistics.space_bytes, options_.size_bytes);
  }
  const std::uint64_t free_blocks = limit - space_.end() + space_.free_blocks();
  statistics.free_bytes = (free_blocks - std::min(free_blocks, reserve_blocks())) * kBlockBytes;
  statistics.pieces = counters.pieces;
  statistics.used_bytes = counters.used_blocks * kBlockBytes;
  statistics.checksum_errors = checksum_errors_;
  statistics.read_errors = read_errors_;
  statistics.damaged_blocks = damaged_.size();
  statistics.healed_blocks = healed_blocks_;
  statistics.rmw = rmw_;
  statistics.jrmw = jrmw_;
  statistics.journal = superblock_.ring.journal;
  statistics.journal_directory = superblock_.ring.directory;
  statistics.journal_bytes = journal_->blocks() * kBlockBytes;
  statistics.journal_used_bytes = journal_->used_blocks() * kBlockBytes;
  statistics.journal_backlog_bytes = homes_.homeless() * kBlockBytes;
  statistics.clean = is_clean();
  return statistics;
}

Task<void> PieceStore::quiesce() {
  const std::uint64_t submitted = submitted_;
  while (applied_records_ < submitted && !failure_.has_value()) co_await progress_.wait();
}

Task<Status> PieceStore::close() {
  closing_ = true;
  progress_.notify_all();
  // A ring on its way is let arrive: the journal cannot end while it is paused for that.
  while (switching_ && !failure_.has_value()) co_await progress_.wait();
  // The upkeep goes on till then: what is queued may wait for room in the ring.
  co_await journal_->stop();
  upkeep_ends_ = true;
  wake_upkeep();
  co_await group_.join();
  co_await direct_writes_.stop();
  // A write that never returns still looks at the ring's device.
  if (journal_->hangs()) static_cast<void>(ring_.release());
  if (failure_.has_value()) co_return fail(*failure_);
  const std::uint64_t all = applied_.sequence;
  CO_TRY_VOID(co_await home_up_to(all));
  co_return co_await checkpoint();
}

}  // namespace cairn::chunkserver::store
