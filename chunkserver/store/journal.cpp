#include "chunkserver/store/journal.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// Direct writes of neighbouring ops become one request up to this size.
constexpr ByteCount kMergedWriteMax = 1_MiB;

// Bytes of the entry among the records of a batch, at most.
ByteCount record_bytes(const Record& record) {
  return sizeof(std::uint32_t) + encoded_size(record);
}
std::uint64_t batch_blocks(ByteCount records, std::uint64_t data_blocks) {
  return div_ceil(kBatchHeaderBytes + records, kBlockBytes) + data_blocks;
}

struct DirectPart {
  std::uint64_t block = 0;
  Bytes bytes;
};

void add_direct(std::vector<DirectPart>& parts, const Payload& payload, const Buffer& body) {
  std::size_t at = 0;
  for (const Extent& extent : payload.extents) {
    const std::size_t length = extent.count * kBlockBytes;
    parts.push_back({extent.first, body.span().subspan(at, length)});
    at += length;
  }
  CHECK_EQ(at, body.size());
}

std::vector<io::DeviceWrite> merge(std::vector<DirectPart> parts) {
  std::sort(parts.begin(), parts.end(),
            [](const DirectPart& a, const DirectPart& b) { return a.block < b.block; });
  std::vector<io::DeviceWrite> writes;
  std::uint64_t end = 0;
  ByteCount size = 0;
  for (const DirectPart& part : parts) {
    CHECK(writes.empty() || part.block >= end);
    const bool joins = !writes.empty() && part.block == end &&
                       writes.back().parts.size() < io::kDevicePartsMax &&
                       size + part.bytes.size() <= kMergedWriteMax;
    if (!joins) {
      writes.push_back({DiskOffset(part.block * kBlockBytes), {}});
      size = 0;
    }
    writes.back().parts.push_back(part.bytes);
    size += part.bytes.size();
    end = part.block + part.bytes.size() / kBlockBytes;
  }
  return writes;
}

}  // namespace

// A batch on its way. It owns the memory the device looks at, and the task that waits for the
// device: when that hangs, the journal goes on without it.
struct Journal::Flight {
  explicit Flight(runtime::Runtime& runtime)
      : written(runtime), returned(runtime), group(runtime) {}

  std::vector<Entry> entries;
  bool answered = false;
  std::uint64_t at = 0;  // block of the ring
  std::uint64_t room = 0;
  EncodedBatch encoded;
  CommittedBatch committed;
  std::vector<io::DeviceWrite> home_first;  // durable before the ring is written
  std::vector<io::DeviceWrite> writes;
  runtime::Completion<Status> written;   // or given up
  runtime::Completion<Status> returned;  // the device let go
  runtime::TaskGroup group;
};

Journal::Journal(runtime::Runtime& runtime, io::BlockDevice& data, RingDevice& ring,
                 JournalPosition position, std::vector<RingUsage::Live> live, Hooks hooks)
    : runtime_(runtime),
      data_(data),
      ring_(&ring),
      position_(position),
      hooks_(std::move(hooks)),
      usage_(ring.blocks(), position.next_block, std::move(live)),
      changed_(runtime),
      group_(runtime) {}

Journal::~Journal() {
  CHECK(queue_.empty());
  CHECK(!committing_);
  if (soon_timer_ != 0) runtime_.cancel(soon_timer_);
}

void Journal::start() { group_.spawn(run()); }

Task<void> Journal::stop() {
  stopping_ = true;
  resume();
  co_await group_.join();
  if (flight_ == nullptr) co_return;
  CHECK(failure_.has_value());
  const std::optional<Status> returned =
      co_await flight_->returned.wait_until(runtime_.after(kStopGrace));
  hanging_ = !returned.has_value();
  flight_.reset();
}

runtime::Completion<Status> Journal::submit(Record record, Buffer body, Urgency urgency) {
  runtime::Completion<Status> done(runtime_);
  if (failure_.has_value()) {
    done.set(fail(*failure_));
    return done;
  }
  CHECK(!stopping_);
  queue_.push_back({std::move(record), std::move(body), done});
  if (urgency == Urgency::kNow) {
    ++urgent_;
    changed_.notify_all();
  } else if (soon_timer_ == 0 && urgent_ == 0) {
    soon_timer_ = runtime_.schedule(runtime_.after(kSoonDelay), [this] {
      soon_timer_ = 0;
      soon_passed_ = true;
      changed_.notify_all();
    });
  }
  return done;
}

void Journal::release(std::uint64_t sequence) {
  usage_.release(sequence);
  full_ = false;
  changed_.notify_all();
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
  changed_.notify_all();
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
    for (Entry& entry : flight_->entries) entry.done.set(fail(*failure_));
    flight_->written.set(fail(*failure_));
  }
  for (Entry& entry : queue_) entry.done.set(fail(*failure_));
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
  for (;;) {
    while (!due() && !failure_.has_value()) {
      if (stopping_ && queue_.empty()) co_return;
      co_await changed_.wait();
    }
    if (failure_.has_value()) co_return;
    std::shared_ptr<Flight> flight = take_batch();
    if (flight == nullptr) continue;
    co_await commit(std::move(flight));
  }
}

Journal::Plan Journal::plan() const {
  const std::uint64_t blocks_max =
      std::min(std::max<std::uint64_t>(usage_.blocks() / 4, 1), kBatchBlocksMax);
  Plan plan;
  ByteCount records = 0;
  ByteCount bodies = 0;
  std::uint64_t data_blocks = 0;
  for (const Entry& entry : queue_) {
    if (plan.entries == kBatchOpsMax) break;
    records += record_bytes(entry.record);
    bodies += entry.body.size();
    data_blocks += journaled_blocks(entry.record);
    const std::uint64_t blocks = batch_blocks(records, data_blocks);
    const bool fits = blocks <= blocks_max && bodies <= kBatchDataMax;
    if (!fits && plan.entries != 0) break;
    ++plan.entries;
    plan.blocks = blocks;
  }
  return plan;
}

// A record that never fits must not stand in the way of the others for ever.
void Journal::refuse_giants() {
  while (!queue_.empty()) {
    Entry& first = queue_.front();
    const std::uint64_t blocks =
        batch_blocks(record_bytes(first.record), journaled_blocks(first.record));
    if (blocks <= std::min(usage_.blocks(), kBatchBlocksMax)) return;
    first.done.set(fail(Code::kNoSpace, fmt::format("a record of {} blocks in a journal of {}",
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
  flight->entries.reserve(next.entries);
  for (std::size_t i = 0; i < next.entries; ++i) {
    flight->entries.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  after_take();
  return flight;
}

// Encodes the records and lays out what the device is to write.
void Journal::prepare_writes(Flight& flight) {
  CommittedBatch& batch = flight.committed;
  std::vector<Bytes> journaled;
  std::vector<DirectPart> direct;
  for (const Entry& entry : flight.entries) {
    batch.records.push_back(&entry.record);
    batch.bodies.push_back(&entry.body);
    const Payload* payload = payload_of(entry.record);
    if (payload == nullptr) {
      CHECK(entry.body.empty());
    } else if (payload->journaled) {
      CHECK_EQ(entry.body.size(), journaled_blocks(entry.record) * kBlockBytes);
      if (!entry.body.empty()) journaled.push_back(entry.body.span());
    } else if (!entry.body.empty()) {
      add_direct(direct, *payload, entry.body);
    }
  }
  flight.encoded = encode_batch(ring_->place().id, position_, batch.records);
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
  for (const Bytes& body : journaled) {
    if (parts.size() == io::kDevicePartsMax) cut();
    parts.push_back(body);
  }
  cut();
  CHECK_EQ(block, batch.position.next_block);
  std::vector<io::DeviceWrite> homes = merge(std::move(direct));
  // In one flush when they lie together; else the blocks first: the record promises them.
  auto& with = ring_->shares_data_device() ? flight.writes : flight.home_first;
  with.insert(with.end(), std::make_move_iterator(homes.begin()),
              std::make_move_iterator(homes.end()));
}

// It may outlive the journal: nothing of that is touched here.
Task<void> Journal::write(std::shared_ptr<Flight> flight, runtime::Runtime* runtime,
                          io::BlockDevice* data, RingDevice* ring, bool flush) {
  Status status;
  FAULT_POINT("store.batch.begin");
  if (!flight->home_first.empty()) {
    status = co_await data->write_durably(std::move(flight->home_first));
    FAULT_POINT("store.batch.home_first");
  }
  // Given up meanwhile: the record of an op that was answered with an error is not written.
  if (status.has_value() && !flight->answered && flush) {
    status = co_await ring->write_durably(std::move(flight->writes));
  } else if (status.has_value() && !flight->answered) {
    for (io::DeviceWrite& write : flight->writes) {
      std::vector<Bytes> parts = std::move(write.parts);
      status = co_await ring->device().write(write.offset, std::move(parts));
      if (!status.has_value()) break;
    }
  }
  FAULT_POINT("store.batch.flushed");
  flight->written.set(status);
  flight->returned.set(std::move(status));
  // The group that runs this task is a part of the flight: it goes in a turn of its own.
  runtime->post([keep = std::move(flight)] {});
}

Task<void> Journal::commit(std::shared_ptr<Flight> flight) {
  committing_ = true;
  flight_ = flight;
  prepare_writes(*flight);
  const JournalPosition next = flight->committed.position;
  usage_.push(next, flight->at, next.next_block - flight->at);
  flight->group.spawn(write(flight, &runtime_, &data_, ring_, !hooks_.ack_before_flush));
  const Status written = co_await flight->written.wait();
  if (!failure_.has_value() && !written.has_value()) fail_with(written.error());
  if (!failure_.has_value()) {
    position_ = next;
    const Status applied = co_await hooks_.apply(&flight->committed);
    if (!failure_.has_value() && !applied.has_value()) fail_with(applied.error());
    FAULT_POINT("store.batch.applied");
  }
  if (!failure_.has_value()) {
    flight->answered = true;
    for (Entry& entry : flight->entries) entry.done.set(Status());
  }
  // A write that hangs keeps its flight for stop().
  if (flight->returned.is_set()) flight_.reset();
  committing_ = false;
  changed_.notify_all();
  if (!failure_.has_value() && usage_.used() > usage_.blocks() / 2) hooks_.on_pressure();
}

}  // namespace cairn::chunkserver::store
