#include "chunkserver/store/journal.h"

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

// Data writes of neighbouring ops become one request up to this size.
constexpr ByteCount kMergedWriteMax = 1_MiB;

}  // namespace

Journal::Journal(runtime::Runtime& runtime, io::BlockDevice& device, JournalGeometry geometry,
                 JournalPosition position, Hooks hooks)
    : runtime_(runtime),
      device_(device),
      geometry_(geometry),
      position_(position),
      hooks_(std::move(hooks)),
      ring_(geometry.blocks, position.next_block),
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
  changed_.notify_all();
  co_await group_.join();
}

runtime::Completion<Status> Journal::submit(Record record, Buffer data, Urgency urgency) {
  runtime::Completion<Status> done(runtime_);
  if (failure_.has_value()) {
    done.set(fail(*failure_));
    return done;
  }
  CHECK(!stopping_);
  queue_.push_back({std::move(record), std::move(data), done});
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
  ring_.release(sequence);
  changed_.notify_all();
}

bool Journal::due() const {
  if (queue_.empty()) return false;
  return urgent_ != 0 || soon_passed_ || stopping_ || failure_.has_value();
}

Task<void> Journal::run() {
  for (;;) {
    while (!due() && !stopping_) co_await changed_.wait();
    if (queue_.empty()) co_return;
    committing_ = true;
    std::deque<Entry> batch = take_batch();
    co_await commit(std::move(batch));
    committing_ = false;
  }
}

std::deque<Journal::Entry> Journal::take_batch() {
  std::deque<Entry> batch;
  const ByteCount journal_max = std::max<ByteCount>(geometry_.blocks / 4, 1) * kBlockBytes;
  ByteCount journal_bytes = kBatchHeaderBytes;
  ByteCount data_bytes = 0;
  while (!queue_.empty() && batch.size() < kBatchOpsMax) {
    Entry& next = queue_.front();
    const ByteCount size = 4 + encoded_size(next.record);
    const bool fits =
        journal_bytes + size <= journal_max && data_bytes + next.data.size() <= kBatchDataMax;
    if (!fits && !batch.empty()) break;
    journal_bytes += size;
    data_bytes += next.data.size();
    batch.push_back(std::move(next));
    queue_.pop_front();
  }
  // What is left is not older than what was taken: it gets its turn right after.
  if (queue_.empty()) {
    urgent_ = 0;
    soon_passed_ = false;
    if (soon_timer_ != 0) runtime_.cancel(std::exchange(soon_timer_, 0));
  } else {
    soon_passed_ = true;
  }
  return batch;
}

void Journal::fail_with(Error error) {
  if (failure_.has_value()) return;
  failure_ = std::move(error);
  hooks_.on_failure(*failure_);
}

void Journal::abort(Error error) {
  fail_with(std::move(error));
  changed_.notify_all();
}

Task<void> Journal::commit(std::deque<Entry> batch) {
  Records records;
  records.reserve(batch.size());
  for (const Entry& entry : batch) records.push_back(&entry.record);
  if (!failure_.has_value()) {
    const Status written = co_await write_batch(&batch, &records);
    if (!written.has_value()) fail_with(written.error());
  }
  if (!failure_.has_value()) {
    const Status applied = hooks_.apply(records, position_);
    if (!applied.has_value()) fail_with(applied.error());
  }
  for (Entry& entry : batch) {
    if (failure_.has_value()) {
      entry.done.set(fail(*failure_));
    } else {
      entry.done.set(Status());
    }
  }
  if (!failure_.has_value() && ring_.used() > ring_.blocks() / 2) hooks_.on_pressure();
}

std::vector<Journal::DataWrite> Journal::data_writes(const std::deque<Entry>& batch) {
  struct Part {
    std::uint64_t block;
    Bytes bytes;
  };
  std::vector<Part> parts;
  for (const Entry& entry : batch) {
    const auto* prepare = std::get_if<PrepareRecord>(&entry.record);
    if (prepare == nullptr) continue;
    const Buffer& data = entry.data;
    std::size_t at = 0;
    for (const Extent& extent : prepare->extents) {
      const std::size_t length = extent.count * kBlockBytes;
      parts.push_back({extent.first, data.span().subspan(at, length)});
      at += length;
    }
    CHECK_EQ(at, data.size());
  }
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.block < b.block; });
  std::vector<DataWrite> writes;
  std::uint64_t end = 0;
  ByteCount size = 0;
  for (const Part& part : parts) {
    const bool joins = !writes.empty() && part.block == end &&
                       writes.back().parts.size() < io::kDevicePartsMax &&
                       size + part.bytes.size() <= kMergedWriteMax;
    if (!joins) {
      CHECK(writes.empty() || part.block >= end);
      writes.push_back({DiskOffset(part.block * kBlockBytes), {}});
      size = 0;
    }
    writes.back().parts.push_back(part.bytes);
    size += part.bytes.size();
    end = part.block + part.bytes.size() / kBlockBytes;
  }
  return writes;
}

Task<void> Journal::write_one(io::BlockDevice* device, DataWrite write, Status* first_error) {
  std::vector<Bytes> parts = std::move(write.parts);
  Status status = co_await device->write(write.offset, std::move(parts));
  if (!status.has_value() && first_error->has_value()) *first_error = std::move(status);
}

Task<Status> Journal::write_batch(const std::deque<Entry>* batch, const Records* records) {
  EncodedBatch encoded = encode_batch(geometry_.salt, position_, *records);
  const std::uint64_t blocks = encoded.bytes.size() / kBlockBytes;
  std::optional<std::uint64_t> at = ring_.place(blocks);
  while (!at.has_value()) {
    hooks_.on_pressure();
    co_await changed_.wait();
    if (failure_.has_value()) co_return fail(*failure_);
    at = ring_.place(blocks);
  }
  JournalPosition next{position_.sequence + 1, *at + blocks, encoded.crc};
  ring_.push(next.sequence, *at, blocks);

  Status first_error;
  runtime::TaskGroup writes(runtime_);
  for (DataWrite& write : data_writes(*batch)) {
    writes.spawn(write_one(&device_, std::move(write), &first_error));
  }
  const Buffer& bytes = encoded.bytes;
  DataWrite journal_write{DiskOffset((geometry_.first_block + *at) * kBlockBytes), {bytes.span()}};
  writes.spawn(write_one(&device_, std::move(journal_write), &first_error));
  co_await writes.join();
  if (!first_error.has_value()) co_return first_error;
  Status flushed = co_await device_.flush();
  if (!flushed.has_value()) co_return flushed;
  position_ = next;
  co_return Status();
}

}  // namespace cairn::chunkserver::store
