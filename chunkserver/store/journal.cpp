#include "chunkserver/store/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <coroutine>

#include "common/base/check.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// Bytes of the entry among the records of a batch, at most.
ByteCount record_bytes(const Record& record) {
  return sizeof(std::uint32_t) + encoded_size(record);
}
std::uint64_t batch_blocks(ByteCount records, std::uint64_t data_blocks) {
  return div_ceil(kBatchHeaderBytes + records, kBlockBytes) + data_blocks;
}

}  // namespace

// A batch on its way. It owns the memory the device looks at, and the task that waits for the
// device: when that hangs, the journal goes on without it.
struct Journal::Flight {
  explicit Flight(runtime::Runtime& runtime) : returned(runtime), group(runtime) {}

  std::vector<Entry> entries;
  bool answered = false;
  std::uint64_t at = 0;  // block of the ring
  std::uint64_t room = 0;
  ByteCount record_bytes = 0;  // at most
  EncodedBatch encoded;
  CommittedBatch committed;
  std::vector<io::DeviceWrite> writes;
  // Blocks that were written directly become durable with this batch: it needs a whole flush.
  bool brings_direct = false;
  std::optional<Status> written;         // or given up
  std::coroutine_handle<> waiter;        // for `written`
  runtime::Completion<Status> returned;  // the device let go
  runtime::TaskGroup group;
};

// co_await Written{flight}: until the write has ended or is given up. Whoever waits is resumed by
// the end of the write itself, not a turn later.
struct Journal::Written {
  Flight* flight;
  bool await_ready() const noexcept { return flight->written.has_value(); }
  void await_suspend(std::coroutine_handle<> waiter) const noexcept { flight->waiter = waiter; }
  void await_resume() const noexcept {}
};

Journal::Journal(runtime::Runtime& runtime, RingDevice& ring, JournalPosition position,
                 std::vector<RingUsage::Live> live, Hooks hooks)
    : runtime_(runtime),
      ring_(&ring),
      position_(position),
      hooks_(std::move(hooks)),
      usage_(ring.blocks(), position.next_block, std::move(live)),
      changed_(runtime),
      group_(runtime) {}

Journal::~Journal() {
  CHECK(queue_.empty());
  CHECK(!running_ && !kick_posted_);
  if (soon_timer_ != 0) runtime_.cancel(soon_timer_);
}

Task<void> Journal::stop() {
  stopping_ = true;
  resume();
  while (!failure_.has_value() && (running_ || !queue_.empty())) co_await changed_.wait();
  co_await group_.join();
  while (kick_posted_) co_await yield_turn(runtime_);
  if (flight_ == nullptr) co_return;
  CHECK(failure_.has_value());
  const std::optional<Status> returned =
      co_await flight_->returned.wait_until(runtime_.after(kStopGrace));
  hanging_ = !returned.has_value();
  flight_.reset();
}

Answer Journal::submit(Record record, Buffer body, Urgency urgency) {
  Answer done;
  if (failure_.has_value()) {
    done.set(runtime_, fail(*failure_));
    return done;
  }
  CHECK(!stopping_);
  const ByteCount bytes = record_bytes(record);
  const std::uint64_t blocks = journaled_blocks(record);
  CHECK_EQ(body.size(), blocks * kBlockBytes);
  queue_.push_back({std::move(record), std::move(body), done, bytes, blocks});
  if (urgency == Urgency::kNow) {
    ++urgent_;
    kick_soon();
  } else if (soon_timer_ == 0 && urgent_ == 0) {
    soon_timer_ = runtime_.schedule(runtime_.after(kSoonDelay), [this] {
      soon_timer_ = 0;
      soon_passed_ = true;
      kick();
    });
  }
  return done;
}

void Journal::kick() {
  if (running_ || failure_.has_value() || !due()) return;
  running_ = true;
  group_.spawn(run());
}

// One writer after the other waits for nobody; many at a time share a batch.
void Journal::kick_soon() {
  if (running_ || kick_posted_) return;
  if (!gathering_) return kick();
  kick_posted_ = true;
  runtime_.post([this] {
    kick_posted_ = false;
    kick();
  });
}

void Journal::release(std::uint64_t sequence) {
  usage_.release(sequence);
  full_ = false;
  kick();
}

std::optional<JournalPosition> Journal::position_of(std::uint64_t sequence) const {
  if (sequence > position_.sequence) return std::nullopt;
  return usage_.position_of(sequence);
}

Task<void> Journal::pause() {
  paused_ = true;
  while (committing_ && !failure_.has_value()) co_await changed_.wait();
}

void Journal::resume() {
  paused_ = false;
  kick();
}

void Journal::resume_with(RingDevice& ring) {
  CHECK(paused_);
  CHECK(!committing_);
  CHECK_EQ(usage_.used(), std::uint64_t{0});
  ring_ = &ring;
  position_.next_block = 0;
  usage_ = RingUsage(ring.blocks(), 0);
  full_ = false;
  resume();
}

void Journal::abort(Error error) { fail_with(std::move(error)); }

void Journal::fail_with(Error error) {
  if (failure_.has_value()) return;
  failure_ = std::move(error);
  if (flight_ != nullptr && !flight_->answered) {
    flight_->answered = true;
    for (Entry& entry : flight_->entries) entry.done.set(runtime_, fail(*failure_));
    if (!flight_->written.has_value()) {
      flight_->written = fail(*failure_);
      runtime_.post([flight = flight_] {
        if (flight->waiter) std::exchange(flight->waiter, nullptr).resume();
      });
    }
  }
  for (Entry& entry : queue_) entry.done.set(runtime_, fail(*failure_));
  queue_.clear();
  after_take();
  changed_.notify_all();
  hooks_.on_failure(*failure_);
}

bool Journal::due() const {
  if (queue_.empty() || paused_ || full_) return false;
  return urgent_ != 0 || soon_passed_ || stopping_;
}

Task<void> Journal::run() {
  while (!failure_.has_value() && due()) {
    std::shared_ptr<Flight> flight = take_batch();
    if (flight == nullptr) continue;
    co_await commit(std::move(flight));
  }
  running_ = false;
  changed_.notify_all();
}

Journal::Plan Journal::plan() const {
  const std::uint64_t blocks_max =
      std::min(std::max<std::uint64_t>(usage_.blocks() / 4, 1), kBatchBlocksMax);
  Plan plan;
  std::uint64_t data_blocks = 0;
  for (const Entry& entry : queue_) {
    if (plan.entries == kBatchOpsMax) break;
    data_blocks += entry.blocks;
    const std::uint64_t blocks = batch_blocks(plan.record_bytes + entry.bytes, data_blocks);
    const bool fits = blocks <= blocks_max && data_blocks * kBlockBytes <= kBatchDataMax;
    if (!fits && plan.entries != 0) break;
    ++plan.entries;
    plan.record_bytes += entry.bytes;
    plan.blocks = blocks;
  }
  return plan;
}

// A record that never fits must not stand in the way of the others for ever.
void Journal::refuse_giants() {
  while (!queue_.empty()) {
    Entry& first = queue_.front();
    const std::uint64_t blocks = batch_blocks(first.bytes, first.blocks);
    if (blocks <= std::min(usage_.blocks(), kBatchBlocksMax)) return;
    first.done.set(runtime_,
                   fail(Code::kNoSpace, fmt::format("a record of {} blocks in a journal of {}",
                                                    blocks, usage_.blocks())));
    if (hooks_.on_refused) hooks_.on_refused(first.record);
    queue_.pop_front();
  }
}

// What is left in the queue is not older than what was taken: it gets its turn right after.
void Journal::after_take() {
  if (!queue_.empty()) {
    soon_passed_ = true;
    return;
  }
  urgent_ = 0;
  soon_passed_ = false;
  if (soon_timer_ != 0) runtime_.cancel(std::exchange(soon_timer_, 0));
}

std::shared_ptr<Journal::Flight> Journal::take_batch() {
  refuse_giants();
  if (queue_.empty()) {
    after_take();
    return nullptr;
  }
  const Plan next = plan();
  const std::optional<std::uint64_t> at = usage_.place(next.blocks);
  if (!at.has_value()) {
    full_ = true;
    hooks_.on_pressure();
    return nullptr;
  }
  auto flight = std::make_shared<Flight>(runtime_);
  flight->at = *at;
  flight->room = next.blocks;
  flight->record_bytes = next.record_bytes;
  flight->entries.reserve(next.entries);
  for (std::size_t i = 0; i < next.entries; ++i) {
    flight->entries.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  gathering_ = next.entries > 1;
  after_take();
  return flight;
}

// Encodes the records and lays out what the device is to write.
void Journal::prepare_writes(Flight& flight) {
  CommittedBatch& batch = flight.committed;
  batch.records.reserve(flight.entries.size());
  batch.bodies.reserve(flight.entries.size());
  for (Entry& entry : flight.entries) {
    const Payload* const payload = payload_of(entry.record);
    flight.brings_direct |= payload != nullptr && !payload->journaled &&
                            !payload->extents.empty() && !hooks_.flush_own_only;
    batch.records.push_back(&entry.record);
    batch.bodies.push_back(&entry.body);
  }
  flight.encoded = encode_batch(ring_->place().id, position_, batch.records, flight.record_bytes);
  const std::uint64_t record_blocks = flight.encoded.bytes.size() / kBlockBytes;
  const std::uint64_t blocks = record_blocks + flight.encoded.data_blocks;
  CHECK_LE(blocks, flight.room);
  batch.position = {position_.sequence + 1, flight.at + blocks, flight.encoded.crc};
  batch.first_data_block = flight.at + record_blocks;

  std::uint64_t block = flight.at;
  std::vector<Bytes> parts{std::as_const(flight.encoded.bytes).span()};
  const auto cut = [&] {
    const std::uint64_t length = io::total_bytes(parts) / kBlockBytes;
    flight.writes.push_back(ring_->write_of(block, std::exchange(parts, {})));
    block += length;
  };
  for (const Entry& entry : flight.entries) {
    if (entry.body.empty()) continue;
    if (parts.size() == io::kDevicePartsMax) cut();
    parts.push_back(entry.body.span());
  }
  cut();
  CHECK_EQ(block, batch.position.next_block);
}

// It may outlive the journal: nothing of that is touched here.
Task<void> Journal::write(std::shared_ptr<Flight> flight, runtime::Runtime* runtime,
                          RingDevice* ring, bool flush) {
  Status status;
  FAULT_POINT("store.batch.begin");
  if (flush && !flight->brings_direct && flight->writes.size() == 1) {
    status = co_await ring->write_through(std::move(flight->writes.front()));
  } else if (flush) {
    status = co_await ring->write_durably(std::move(flight->writes));
  } else {
    for (io::DeviceWrite& write : flight->writes) {
      std::vector<Bytes> parts = std::move(write.parts);
      status = co_await ring->device().write(write.offset, std::move(parts));
      if (!status.has_value()) break;
    }
  }
  FAULT_POINT("store.batch.flushed");
  flight->returned.set(status);
  if (!flight->written.has_value()) {
    flight->written = std::move(status);
    if (flight->waiter) std::exchange(flight->waiter, nullptr).resume();
  }
  // The group that runs this task is a part of the flight: it goes in a turn of its own.
  runtime->post([keep = std::move(flight)] {});
}

Task<void> Journal::commit(std::shared_ptr<Flight> flight) {
  committing_ = true;
  flight_ = flight;
  prepare_writes(*flight);
  const JournalPosition next = flight->committed.position;
  usage_.push(next, flight->at, next.next_block - flight->at);
  flight->group.spawn(write(flight, &runtime_, ring_, !hooks_.ack_before_flush));
  co_await Written{flight.get()};
  if (!failure_.has_value() && !flight->written->has_value()) fail_with(flight->written->error());
  if (!failure_.has_value()) {
    position_ = next;
    const Status applied = co_await hooks_.apply(&flight->committed);
    if (!failure_.has_value() && !applied.has_value()) fail_with(applied.error());
    FAULT_POINT("store.batch.applied");
  }
  const bool good = !failure_.has_value();
  if (good) flight->answered = true;
  // A write that hangs keeps its flight for stop().
  if (flight->returned.is_set()) flight_.reset();
  committing_ = false;
  changed_.notify_all();
  if (good && usage_.used() > usage_.blocks() / 2) hooks_.on_pressure();
  if (!good) co_return;
  // One writer after the other: the turn that brought the answer takes it on. Of many none goes
  // before the next batch does.
  if (flight->entries.size() == 1 && queue_.empty()) {
    flight->entries.front().done.set_now(Status());
    co_return;
  }
  for (Entry& entry : flight->entries) entry.done.set(runtime_, Status());
}

}  // namespace cairn::chunkserver::store
