#include "chunkserver/store/piece_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::size_t kTombstonesMax = 65536;

}  // namespace

Task<Result<std::unique_ptr<PieceStore>>> PieceStore::open(runtime::Runtime* runtime,
                                                           io::BlockDevice* device, kv::Kv* kv,
                                                           observe::Log* log,
                                                           StoreOptions options) {
  const std::uint64_t journal_blocks =
      std::clamp(options.journal_bytes / kBlockBytes, kJournalBlocksMin, kJournalBlocksMax);
  CO_TRY(RecoveredStore recovered, co_await recover(runtime, device, kv, journal_blocks));
  if (recovered.batches != 0) {
    log->info("recovery: {} journal batches replayed, {} unfinished ops dropped", recovered.batches,
              recovered.dropped);
  }
  std::unique_ptr<PieceStore> store(
      new PieceStore(*runtime, *device, *kv, *log, std::move(options), std::move(recovered)));
  store->journal_->start();
  co_return std::move(store);
}

PieceStore::PieceStore(runtime::Runtime& runtime, io::BlockDevice& device, kv::Kv& kv,
                       observe::Log& log, StoreOptions options, RecoveredStore recovered)
    : runtime_(runtime),
      device_(device),
      kv_(kv),
      log_(log),
      options_(std::move(options)),
      recovered_(std::move(recovered)),
      space_(std::move(recovered_.space)),
      counters_(recovered_.counters),
      applied_sequence_(recovered_.position.sequence),
      write_budget_(runtime, options_.write_budget),
      read_budget_(runtime, options_.read_budget),
      grow_mutex_(runtime),
      checkpoint_mutex_(runtime),
      progress_(runtime),
      group_(runtime) {
  Journal::Hooks hooks;
  hooks.apply = [this](const Journal::Records& records, const JournalPosition& position) {
    return apply(records, position);
  };
  hooks.on_pressure = [this] {
    if (std::exchange(checkpoint_queued_, true)) return;
    group_.spawn(checkpoint_in_background());
  };
  hooks.on_failure = [this](const Error& error) { fence_store(error); };
  journal_ = std::make_unique<Journal>(runtime, device, recovered_.journal, recovered_.position,
                                       std::move(hooks));
}

PieceStore::~PieceStore() { CHECK(closing_); }

Status PieceStore::usable() const {
  if (failure_.has_value()) return fail(*failure_);
  if (closing_) return fail(Code::kUnavailable, "the chunk server is stopping");
  return {};
}

Result<FenceState> PieceStore::fence_of(PieceId piece) const {
  const auto it = staged_.find(piece);
  if (it != staged_.end()) return it->second.fence;
  TRY(const std::optional<PieceRow> row, load_piece(kv_, piece));
  return row.has_value() ? row->fence : FenceState();
}

runtime::Completion<Status> PieceStore::submit(Record record, Buffer data, Journal::Urgency urgency,
                                               FenceState after) {
  const PieceId piece = piece_of(record);
  Staged& staged = staged_[piece];
  staged.fence = after;
  ++staged.records;
  if (const auto* prepare = std::get_if<PrepareRecord>(&record)) {
    staged.ops.emplace(prepare->op,
                       content_digest(prepare->writes, prepare->zeroes, prepare->crcs));
  }
  if (std::holds_alternative<RemoveRecord>(record)) staged.removed = true;
  return journal_->submit(std::move(record), std::move(data), urgency);
}

void PieceStore::unstage(const Record& record) {
  const auto it = staged_.find(piece_of(record));
  CHECK(it != staged_.end());
  CHECK_GT(it->second.records, std::size_t{0});
  if (const auto* prepare = std::get_if<PrepareRecord>(&record)) it->second.ops.erase(prepare->op);
  if (--it->second.records == 0) staged_.erase(it);
}

Status PieceStore::apply(const Journal::Records& records, const JournalPosition& position) {
  if (failure_.has_value()) return fail(*failure_);
  PieceIndex index(kv_);
  Status status;
  for (const Record* record : records) {
    status = index.apply(*record);
    if (!status.has_value()) break;
  }
  Result<PieceIndex::Change> change = PieceIndex::Change();
  if (status.has_value()) change = index.take(position);
  if (status.has_value() && !change.has_value()) status = fail(change.error());
  if (status.has_value()) status = kv_.write(change->batch);
  if (!status.has_value()) {
    fence_store(status.error());
    return status;
  }
  counters_ = change->counters;
  applied_sequence_ = position.sequence;
  for (const Record* record : records) unstage(*record);
  gate_.hold(std::move(change->freed));
  static_cast<void>(release_freed());
  progress_.notify_all();
  return {};
}

bool PieceStore::release_freed() {
  const std::vector<Extent> extents = gate_.take_reusable();
  for (const Extent& extent : extents) {
    const Status status = space_.free(extent);
    CHECK(status.has_value());
  }
  return !extents.empty();
}

void PieceStore::fence_store(const Error& error) {
  if (failure_.has_value()) return;
  failure_ = error;
  log_.error("the store is fenced: {}", error.to_string());
  journal_->abort(error);
  progress_.notify_all();
}

std::uint64_t PieceStore::limit_blocks() const {
  const ByteCount device = device_.size_limit();
  const ByteCount limit = options_.size_bytes == 0 ? device : std::min(device, options_.size_bytes);
  return std::max(limit / kBlockBytes, space_.end());
}

Task<Status> PieceStore::settle(PieceId piece, OpId below) {
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  CO_TRY(const bool news, check_settle(fence, below));
  if (!news) co_return Status();
  runtime::Completion<Status> done = submit(SettleRecord{piece, below}, Buffer(),
                                            Journal::Urgency::kSoon, after_settle(fence, below));
  // Nobody waits for it: an op that is settled late is settled all the same.
  static_cast<void>(done);
  co_return Status();
}

Task<Result<SealAnswer>> PieceStore::seal(PieceId piece, ChunkVersion version, LeaseEpoch epoch) {
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  CO_TRY(const bool news, check_seal(fence, version, epoch));
  if (news) {
    runtime::Completion<Status> done =
        submit(SealRecord{piece, version, epoch}, Buffer(), Journal::Urgency::kNow,
               after_seal(fence, version, epoch));
    CO_TRY_VOID(co_await done.wait());
  }
  // A seal that is repeated while the first is under way answers what is durable, too.
  while (staged_.contains(piece) && !failure_.has_value()) co_await progress_.wait();
  if (failure_.has_value()) co_return fail(*failure_);
  CO_TRY(const std::optional<PieceRow> row, load_piece(kv_, piece));
  if (!row.has_value()) co_return fail(Code::kPieceMissing, "the piece was removed");
  SealAnswer answer;
  answer.settled = row->fence.settled;
  for (const PendingOp& op : row->pending) answer.undecided.push_back({op.op, op.participants});
  for (const ForwardedOp& op : row->forwarded) {
    answer.undecided.push_back({op.op, op.participants, true});
  }
  std::sort(answer.undecided.begin(), answer.undecided.end(),
            [](const UndecidedOp& a, const UndecidedOp& b) { return a.op < b.op; });
  co_return answer;
}

Task<Status> PieceStore::resolve(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                                 std::vector<OpId> forward) {
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  CO_TRY_VOID(check_resolve(fence, version, epoch));
  std::sort(forward.begin(), forward.end());
  ResolveRecord record{piece, epoch, std::move(forward)};
  runtime::Completion<Status> done =
      submit(std::move(record), Buffer(), Journal::Urgency::kNow, fence);
  co_return co_await done.wait();
}

Task<Status> PieceStore::remove(PieceId piece) {
  CO_TRY_VOID(usable());
  CO_TRY(const FenceState fence, fence_of(piece));
  if (!fence.exists) {
    // A removal under way must be durable before this one says so.
    while (staged_.contains(piece) && !failure_.has_value()) co_await progress_.wait();
    if (failure_.has_value()) co_return fail(*failure_);
    co_return Status();
  }
  if (tombstones_.insert_or_assign(piece, fence.version).second) tombstone_order_.push_back(piece);
  if (tombstone_order_.size() > kTombstonesMax) {
    tombstones_.erase(tombstone_order_.front());
    tombstone_order_.pop_front();
  }
  runtime::Completion<Status> done =
      submit(RemoveRecord{piece}, Buffer(), Journal::Urgency::kNow, FenceState());
  co_return co_await done.wait();
}

Result<PieceStatusAnswer> PieceStore::status(PieceId piece) const {
  TRY(const std::optional<PieceRow> row, load_piece(kv_, piece));
  if (!row.has_value()) return fail(Code::kPieceMissing, "there is no such piece here");
  return PieceStatusAnswer{row->fence.version, row->fence.epoch, row->blocks,
                           static_cast<std::uint32_t>(row->pending.size())};
}

StoreStatistics PieceStore::statistics() const {
  const std::uint64_t limit = limit_blocks();
  StoreStatistics statistics;
  statistics.space_bytes = device_.space();
  if (options_.size_bytes != 0) {
    statistics.space_bytes = std::min(statistics.space_bytes, options_.size_bytes);
  }
  statistics.free_bytes = (limit - space_.end() + space_.free_blocks()) * kBlockBytes;
  statistics.pieces = counters_.pieces;
  statistics.used_bytes = counters_.used_blocks * kBlockBytes;
  statistics.checksum_errors = checksum_errors_;
  statistics.journal_blocks_used = journal_->used_blocks();
  return statistics;
}

Task<Status> PieceStore::checkpoint() {
  const runtime::Semaphore::Permit guard = co_await checkpoint_mutex_.lock();
  if (failure_.has_value()) co_return fail(*failure_);
  const std::uint64_t sequence = applied_sequence_;
  Status status;
  if (options_.offload) {
    std::move_only_function<Status()> job = [kv = &kv_] { return kv->flush(); };
    status = co_await options_.offload(std::move(job));
  } else {
    status = kv_.flush();
  }
  if (!status.has_value()) {
    fence_store(status.error());
    co_return status;
  }
  journal_->release(sequence);
  co_return Status();
}

Task<void> PieceStore::checkpoint_in_background() {
  const Status status = co_await checkpoint();
  ignore(status, "a failed checkpoint has fenced the store");
  checkpoint_queued_ = false;
}

Task<void> PieceStore::quiesce() {
  while (!staged_.empty() && !failure_.has_value()) co_await progress_.wait();
}

Task<Status> PieceStore::close() {
  closing_ = true;
  progress_.notify_all();
  co_await journal_->stop();
  co_await group_.join();
  co_return co_await checkpoint();
}

}  // namespace cairn::chunkserver::store
