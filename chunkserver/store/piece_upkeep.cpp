// What PieceStore does behind the requests: homing, folding, checkpoints, and moving the ring.
#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/piece_store.h"
#include "common/base/check.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// Blocks of one homing step: enough for large writes, little enough to stop soon.
constexpr std::size_t kHomeStepBlocks = 1024;
// A store that has nothing else to do commits what is left after so long.
constexpr Duration kIdleCommit = 2s;
// Under load: bounds what a start has to read and bring home again.
constexpr Duration kBusyCommit = 5s;

}  // namespace

bool PieceStore::is_clean() const {
  return homes_.empty() && !homes_.unflushed() && !table_->dirty() && !journal_->busy() &&
         fold_queue_.empty() && folding_.empty() && tail_ == applied_;
}

// A checkpoint would change something.
bool PieceStore::has_work() const {
  return table_->dirty() || homes_.unflushed() || tail_ != applied_ || !withheld_.empty();
}

// A checkpoint would give room in the ring back.
bool PieceStore::would_release() const {
  return homes_.unflushed() || homes_.tail_sequence(applied_.sequence) > tail_.sequence;
}

std::uint64_t PieceStore::release_gain() const {
  const std::optional<std::uint64_t> oldest = homes_.oldest();
  return journal_->releasable(oldest.has_value() ? *oldest - 1 : applied_.sequence);
}

// So many homeless blocks are worth a step although none of them is old: the more company they
// have, the more neighbours go home in one write, and the fewer flushes find their metadata dirty.
std::uint64_t PieceStore::worth_homing() const {
  const std::uint64_t used = journal_->used_blocks();
  const std::uint64_t ring = journal_->blocks();
  if (journal_->full() || switching_) return 1;
  if (used * 4 <= ring) return kHomelessBlocksMax / 2;
  const std::uint64_t most = used * 2 <= ring ? kHomeStepBlocks / 2 : kHomeStepBlocks / 8;
  return std::clamp<std::uint64_t>(ring / 8, 1, most);
}

bool PieceStore::wants_homing() const {
  if (homes_.empty()) return false;
  if (homes_.homeless() >= worth_homing()) return true;
  const std::optional<std::uint64_t> oldest = homes_.oldest();
  if (!oldest.has_value() || batch_times_.empty()) return true;
  return runtime_.now() - batch_times_.front().second >= options_.home_delay;
}

bool PieceStore::wants_checkpoint() const {
  if (committing_) return false;
  if (table_->dirty_bytes() > options_.dirty_bytes_max / 2) return true;
  if (space_short_ != 0 && !withheld_.empty()) return true;
  if (would_release()) {
    // It costs several flushes: it is not made for every step, but early enough that requests find
    // room in the ring while it is under way.
    const std::uint64_t gain = release_gain();
    const std::uint64_t ring = journal_->blocks();
    if (journal_->full() && gain != 0) return true;
    if (journal_->used_blocks() * 2 > ring && gain * 4 >= ring) return true;
    if (runtime_.now() - last_checkpoint_ >= kBusyCommit) return true;
  }
  return has_work() && homes_.empty() && runtime_.now() - last_batch_ >= kIdleCommit;
}

// Until the next moment at which one of the two above may turn true by itself.
Duration PieceStore::upkeep_pause() const {
  Duration pause = Duration::max();
  const auto consider = [&](Instant at) {
    pause = std::min(pause, std::max<Duration>(at - runtime_.now(), Duration{1}));
  };
  if (!homes_.empty() && !batch_times_.empty()) {
    consider(batch_times_.front().second + options_.home_delay);
  }
  if (!fold_queue_.empty() && folding_.empty()) consider(fold_queue_.begin()->first);
  if (committing_) return pause;  // its end wakes the upkeep
  if (homes_.empty() && has_work()) consider(last_batch_ + kIdleCommit);
  if (would_release()) consider(last_checkpoint_ + kBusyCommit);
  return pause;
}

void PieceStore::wake_upkeep() {
  if (upkeep_sleep_.has_value()) upkeep_sleep_->set(true);
}

bool PieceStore::upkeep_is_due() const {
  if (!upkeep_sleep_.has_value()) return false;
  if (wants_checkpoint() || wants_homing()) return true;
  const Duration pause = upkeep_pause();
  return pause != Duration::max() && runtime_.now() + pause < upkeep_until_;
}

Task<void> PieceStore::upkeep_wait(Duration most) {
  upkeep_sleep_.emplace(runtime_);
  upkeep_until_ = most == Duration::max() ? Instant::infinite() : runtime_.now() + most;
  runtime::Completion<bool> sleep = *upkeep_sleep_;
  if (most == Duration::max()) {
    const bool woken = co_await sleep.wait();
    static_cast<void>(woken);
  } else {
    const std::optional<bool> woken = co_await sleep.wait_until(runtime_.after(most));
    static_cast<void>(woken);
  }
  upkeep_sleep_.reset();
}

Task<void> PieceStore::run_upkeep() {
  while (!upkeep_ends_ && !failure_.has_value()) {
    const std::optional<std::uint64_t> oldest = homes_.oldest();
    while (!batch_times_.empty() && (!oldest.has_value() || batch_times_.front().first < *oldest)) {
      batch_times_.pop_front();
    }
    start_folds();
    // Homing goes on beside a checkpoint: under load the ring fills meanwhile.
    if (wants_checkpoint()) {
      committing_ = true;
      group_.spawn(commit_beside(this));
    }
    if (wants_homing()) {
      const Result<std::uint64_t> homed = co_await home_step();
      ignore(homed, "a failed step has fenced the store");
    } else {
      co_await upkeep_wait(upkeep_pause());
    }
  }
}

Task<void> PieceStore::commit_beside(PieceStore* self) {
  const Status done = co_await self->checkpoint();
  ignore(done, "a failed checkpoint has fenced the store");
  self->committing_ = false;
  self->wake_upkeep();
}

Task<Result<std::uint64_t>> PieceStore::home_step() {
  const runtime::Semaphore::Permit guard = co_await homing_mutex_.lock();
  if (failure_.has_value()) co_return fail(*failure_);
  // What it reads in the ring may be freed meanwhile, but not written over.
  const Epochs::Ticket ticket = ring_reads_.begin();
  Result<std::uint64_t> homed = co_await homer_.step(ring_.get(), kHomeStepBlocks);
  ring_reads_.end(ticket);
  if (!homed.has_value()) fence(homed.error());
  if (release_freed() || homed.has_value()) progress_.notify_all();
  co_return homed;
}

// What came up to that batch; later ones do not hold it up.
Task<Status> PieceStore::home_up_to(std::uint64_t sequence) {
  for (;;) {
    const std::optional<std::uint64_t> oldest = homes_.oldest();
    if (!oldest.has_value() || *oldest > sequence) co_return Status();
    CO_TRY(const std::uint64_t homed, co_await home_step());
    if (homed == 0) co_return Status();
  }
}

Task<Status> PieceStore::checkpoint() {
  const runtime::Semaphore::Permit guard = co_await checkpoint_mutex_.lock();
  if (failure_.has_value()) co_return fail(*failure_);
  Status done = co_await checkpoint_now();
  if (!done.has_value()) fence(done.error());
  progress_.notify_all();
  co_return done;
}

// The steps of docs/protocols/chunk-store.md, "Homing".
Task<Status> PieceStore::checkpoint_now() {
  FAULT_POINT("store.checkpoint.begin");
  if (homes_.unflushed()) {
    const std::uint64_t mark = homes_.flush_mark();
    if (!options_.sabotage.release_before_flush) {
      CO_TRY_VOID(co_await data_flush_.flush());
    }
    homes_.flushed(mark);
    FAULT_POINT("store.checkpoint.flushed");
  }
  // Rows that a failed batch changed in part must not become durable.
  if (failure_.has_value()) co_return fail(*failure_);
  const std::uint64_t tail_sequence = homes_.tail_sequence(applied_.sequence);
  JournalPosition tail = tail_;
  if (tail_sequence == applied_.sequence) {
    tail = applied_;
  } else if (tail_sequence > tail_.sequence) {
    const std::optional<JournalPosition> live = journal_->position_of(tail_sequence);
    CHECK(live.has_value());
    tail = *live;
  }
  const TablePosition position{superblock_.ring.id, superblock_.generation, applied_, tail};
  std::vector<Extent> withheld = std::exchange(withheld_, {});
  std::shared_ptr<const PieceTable::Frozen> frozen = table_->freeze();
  const bool durable = !options_.sabotage.release_before_index;
  std::move_only_function<Status()> job = [kv = &kv_, frozen, position, durable]() -> Status {
    TRY_VOID(kv->write(frozen->batch(position)));
    FAULT_POINT("store.checkpoint.rows");
    return durable ? kv->flush() : Status();
  };
  if (options_.offload) {
    CO_TRY_VOID(co_await options_.offload(std::move(job)));
  } else {
    CO_TRY_VOID(job());
  }
  table_->checkpointed();
  FAULT_POINT("store.checkpoint.durable");
  // The rows have the batch that freed these: no start looks at its blocks any more.
  gate_.hold(std::move(withheld));
  static_cast<void>(release_freed());
  CO_TRY_VOID(co_await await_ring_readers());
  tail_ = tail;
  last_checkpoint_ = runtime_.now();
  pressure_ = false;
  journal_->release(tail.sequence);
  FAULT_POINT("store.checkpoint.released");
  co_return Status();
}

Task<Status> PieceStore::await_ring_readers() {
  const Epochs::Ticket now = ring_reads_.mark();
  while (!ring_reads_.left_since(now) && !failure_.has_value()) co_await progress_.wait();
  if (failure_.has_value()) co_return fail(*failure_);
  co_return Status();
}

Task<Status> PieceStore::commit_all() {
  CO_TRY_VOID(usable());
  co_await quiesce();
  const std::uint64_t sequence = applied_.sequence;
  CO_TRY_VOID(co_await home_up_to(sequence));
  co_return co_await checkpoint();
}

Task<Status> PieceStore::switch_ring(RingPlan plan) {
  CO_TRY_VOID(usable());
  if (switching_) co_return fail(Code::kBusy, "the journal is being moved already");
  const std::uint64_t blocks = plan.bytes / kBlockBytes;
  // Whatever is queued for the present ring must fit into the new one.
  const std::uint64_t least =
      std::max(kRingBlocksMin, 4 * options_.journal_write_max / kBlockBytes);
  if (blocks < least || blocks > kRingBlocksMax) {
    co_return fail(Code::kInvalidArgument,
                   fmt::format("a journal has {} to {} bytes, not {}", least * kBlockBytes,
                               kRingBlocksMax * kBlockBytes, plan.bytes));
  }
  if (plan.directory.size() > kRingDirectoryMax) {
    co_return fail(Code::kInvalidArgument, "the name of the journal's directory is too long");
  }
  switching_ = true;
  Status done = co_await switch_to(std::move(plan));
  switching_ = false;
  progress_.notify_all();
  co_return done;
}

// A run of free blocks of the data file for a ring.
Task<Result<RingPlace>> PieceStore::place_ring(RingPlan plan) {
  RingPlace place;
  place.id = runtime_.random() | 1;
  place.blocks = plan.bytes / kBlockBytes;
  place.directory = plan.directory;
  place.journal = plan.journal;
  if (place.external()) co_return place;
  for (int tries = 0; tries < 2; ++tries) {
    CO_TRY(std::vector<Extent> extents, co_await allocate(place.blocks));
    if (extents.size() == 1) {
      place.first = extents[0].first;
      co_return place;
    }
    give_back(extents);
    // The end of the file is one run, if it may grow.
    CO_TRY_VOID(co_await grow(space_.free_blocks() + place.blocks));
  }
  co_return fail(Code::kNoSpace, "no run of free blocks is long enough for the journal");
}

Task<Status> PieceStore::switch_to(RingPlan plan) {
  if (superblock_.old_ring.has_value()) co_await drop_old_ring();
  const bool same_file = !plan.directory.empty() && plan.directory == superblock_.ring.directory;
  if (same_file) {
    // A ring file is resized by way of the data file: there is never a moment without a ring.
    const ByteCount bytes =
        std::max(kRingBlocksMin * 8 * kBlockBytes, 4 * options_.journal_write_max);
    RingPlan aside{.directory = {}, .bytes = bytes, .journal = plan.journal};
    CO_TRY_VOID(co_await switch_to(std::move(aside)));
  }
  CO_TRY(RingPlace place, co_await place_ring(std::move(plan)));
  const Extent taken{place.first, place.blocks};
  const bool inside = !place.external();
  Result<std::unique_ptr<RingDevice>> ring = co_await make_ring(
      &runtime_, &device_, place, superblock_.store_id, &options_.open_ring, superblock_.ring.id);
  if (!ring.has_value()) {
    if (inside && ring.error().code() == Code::kDiskFailed) {
      fence(ring.error());
    } else if (inside) {
      give_back({taken});
    }
    co_return fail(ring.error());
  }
  FAULT_POINT("store.switch.made");
  if (options_.sabotage.early_superblock) {
    Superblock early = superblock_;
    ++early.generation;
    early.ring = (*ring)->place();
    CO_TRY_VOID(co_await write_superblock(&device_, early));
  }
  // Most of the work while requests go on; then the rest while they wait.
  const std::uint64_t sequence = applied_.sequence;
  Status drained = co_await home_up_to(sequence);
  if (drained.has_value()) drained = co_await checkpoint();
  if (!drained.has_value()) co_return drained;
  co_return co_await drain_and_switch(std::move(*ring));
}

Task<Status> PieceStore::drain_and_switch(std::unique_ptr<RingDevice> ring) {
  co_await journal_->pause();
  const std::uint64_t all = applied_.sequence;
  Status status = co_await home_up_to(all);
  if (status.has_value()) status = co_await checkpoint();
  if (!status.has_value()) {
    journal_->resume();
    co_return status;
  }
  CHECK(tail_ == applied_);
  CHECK(tail_ == journal_->position());
  FAULT_POINT("store.switch.drained");
  Superblock next = superblock_;
  ++next.generation;
  next.old_ring = superblock_.ring;
  next.ring = ring->place();
  status = co_await write_superblock(&device_, next);
  if (!status.has_value()) {
    // Nobody knows which of the two counts now.
    fence(status.error());
    journal_->resume();
    co_return status;
  }
  FAULT_POINT("store.switch.superblock");
  status = co_await await_ring_readers();
  superblock_ = std::move(next);
  std::unique_ptr<RingDevice> old = std::exchange(ring_, std::move(ring));
  // Direct blocks of what is queued were left to the flush of their batch. With the old ring that
  // covered them; with a new one on a device of its own it would not.
  if (status.has_value() && !options_.sabotage.skip_switch_flush) {
    status = co_await data_flush_.flush();
    if (!status.has_value()) fence(status.error());
  }
  applied_.next_block = 0;
  tail_ = applied_;
  // Before anything is acknowledged in the new ring the rows say its generation: should the new
  // slot of the superblock be lost, the old one is seen to be old.
  if (status.has_value()) status = co_await checkpoint();
  FAULT_POINT("store.switch.rows");
  journal_->resume_with(*ring_);
  if (!status.has_value()) co_return status;
  old.reset();
  FAULT_POINT("store.switch.resumed");
  co_await drop_old_ring();
  FAULT_POINT("store.switch.done");
  log_.info("the journal is now {} blocks in {}", ring_->blocks(),
            ring_->place().external() ? ring_->place().directory : "the data file");
  co_return Status();
}

// What is left of the ring before the last switch.
Task<void> PieceStore::drop_old_ring() {
  const RingPlace old = *superblock_.old_ring;
  // On disk with the next superblock; until then a start repeats this.
  if (!old.external()) {
    superblock_.old_ring.reset();
    give_back({{old.first, old.blocks}});
    co_return;
  }
  const Status removed = co_await remove_old_ring(old, superblock_.store_id, &options_.open_ring,
                                                  &options_.remove_ring);
  if (removed.has_value()) {
    superblock_.old_ring.reset();
  } else {
    log_.warning("the old journal in {} is left over: {}", old.directory,
                 removed.error().to_string());
  }
}

}  // namespace cairn::chunkserver::store
