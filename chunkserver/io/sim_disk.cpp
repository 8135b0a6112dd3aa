#include "chunkserver/io/sim_disk.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::io {
namespace {

constexpr std::size_t kSectorBytes = 512;

Error cut_off() { return Error(Code::kDiskFailed, "the simulated power was cut"); }
Error injected(const char* what) {
  return Error(Code::kDiskFailed, std::string("injected failure of a ") + what);
}

// Some accidents keep nearly all, some nearly nothing, most a mixture.
std::uint64_t keep_per_mille(Prng* prng) {
  return std::array<std::uint64_t, 4>{0, 300, 700, 1000}[prng->below(4)];
}

}  // namespace

class SimDisk::Device final : public BlockDevice {
 public:
  Device(SimDisk* disk, runtime::Runtime* runtime, std::uint64_t life)
      : BlockDevice(*runtime), disk_(disk), life_(life), changed_(*runtime) {}
  ~Device() override {
    if (disk_->device_ == this) disk_->device_ = nullptr;
  }

  // Those who wait look again whether the disk hangs or is cut off.
  void wake() { changed_.notify_all(); }

  ByteCount size() const override { return disk_->size_; }
  ByteCount space() const override { return disk_->options_.size_limit; }
  bool direct() const override { return true; }
  ByteCount size_limit() const override {
    return std::max(disk_->size_, disk_->options_.size_limit);
  }
  std::string engine() const override { return "memory"; }

  Task<Status> read(DiskOffset offset, MutableBytes into) override {
    CO_TRY_VOID(check_read(*this, offset, into));
    while (hangs()) co_await changed_.wait();
    co_await pause(disk_->options_.read_latency);
    if (!alive() || fenced_) co_return fail(cut_off());
    if (disk_->fail_reads_) co_return fail(injected("read"));
    co_return disk_->read(offset.raw() / kBlockBytes, into);
  }

  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override {
    const Result<std::uint64_t> id = co_await put(offset, std::move(parts));
    if (!id.has_value()) co_return fail(id.error());
    co_return Status();
  }

  // The id of the write.
  Task<Result<std::uint64_t>> put(DiskOffset offset, std::vector<Bytes> parts) {
    CO_TRY_VOID(check_write(*this, offset, parts));
    while (hangs()) co_await changed_.wait();
    if (!alive() || fenced_) co_return fail(cut_off());
    if (disk_->fail_writes_) {
      fenced_ = true;
      co_return fail(injected("write"));
    }
    const std::uint64_t id = disk_->add_write(offset.raw() / kBlockBytes, parts);
    if (!disk_->count_operation()) co_return fail(cut_off());
    co_await pause(disk_->options_.write_latency);
    if (!alive()) co_return fail(cut_off());
    disk_->end_write(id);
    co_return id;
  }

  Task<Status> flush() override {
    while (hangs()) co_await changed_.wait();
    if (!alive() || fenced_) co_return fail(cut_off());
    if (disk_->fail_writes_) {
      fenced_ = true;
      co_return fail(injected("flush"));
    }
    const std::set<std::uint64_t> ids = disk_->ended_writes();
    if (!disk_->count_operation()) co_return fail(cut_off());
    ++disk_->flushes_;
    co_await pause(disk_->options_.flush_latency);
    if (!alive() || fenced_) co_return fail(cut_off());
    const std::optional<std::uint64_t> seed = std::exchange(disk_->fail_flush_seed_, std::nullopt);
    disk_->make_durable(ids, seed);
    if (!seed.has_value()) co_return Status();
    fenced_ = true;
    co_return fail(injected("flush"));
  }

  // Nothing else becomes durable by it, not even what ended before.
  Task<Status> write_through(DeviceWrite write) override {
    CO_TRY(const std::uint64_t id, co_await put(write.offset, std::move(write.parts)));
    if (!alive() || fenced_ || !disk_->count_operation()) co_return fail(cut_off());
    ++disk_->flushes_;
    co_await pause(disk_->options_.flush_latency);
    if (!alive() || fenced_) co_return fail(cut_off());
    const std::optional<std::uint64_t> seed = std::exchange(disk_->fail_flush_seed_, std::nullopt);
    disk_->make_durable(disk_->with_those_below(id), seed);
    if (!seed.has_value()) co_return Status();
    fenced_ = true;
    co_return fail(injected("flush"));
  }

  Task<Status> discard(DiskOffset offset, ByteCount length) override {
    while (hangs()) co_await changed_.wait();
    if (!alive() || fenced_) co_return fail(cut_off());
    disk_->discard(div_ceil(offset.raw(), kBlockBytes), (offset.raw() + length) / kBlockBytes);
    co_return Status();
  }

  Task<Status> grow(ByteCount size) override {
    while (hangs()) co_await changed_.wait();
    if (!alive() || fenced_) co_return fail(cut_off());
    if (size > size_limit()) co_return fail(Code::kNoSpace, "the simulated disk is full");
    disk_->size_ = std::max(disk_->size_, size);
    co_return Status();
  }

 private:
  bool alive() const { return disk_->attached_ && disk_->life_ == life_; }
  bool hangs() const { return alive() && disk_->stalled_; }
  runtime::SleepAwaiter pause(Duration latency) const { return sleep_for(runtime(), latency); }

  SimDisk* disk_;
  std::uint64_t life_;
  runtime::Signal changed_;
  bool fenced_ = false;
};

SimDisk::SimDisk(Options options) : options_(options) {}
SimDisk::~SimDisk() = default;

std::unique_ptr<BlockDevice> SimDisk::attach(runtime::Runtime& runtime) {
  if (device_ != nullptr) device_->wake();
  ++life_;
  attached_ = true;
  auto device = std::make_unique<Device>(this, &runtime, life_);
  device_ = device.get();
  return device;
}

void SimDisk::detach() {
  attached_ = false;
  crash_at_.reset();
  if (device_ != nullptr) device_->wake();
}

void SimDisk::stall(bool on) {
  stalled_ = on;
  if (!on && device_ != nullptr) device_->wake();
}

bool SimDisk::count_operation() {
  ++operations_;
  if (!crash_at_.has_value() || operations_ < *crash_at_) return true;
  if (crash_seed_.has_value()) {
    crash(*crash_seed_);
  } else {
    kill();
  }
  return false;
}

void SimDisk::crash_at(std::uint64_t n, std::uint64_t seed) {
  CHECK_GT(n, std::uint64_t{0});
  crash_at_ = operations_ + n;
  crash_seed_ = seed;
}

void SimDisk::crash(std::uint64_t seed) {
  Prng prng(seed);
  const std::uint64_t keep = keep_per_mille(&prng);
  for (const Unflushed& write : unflushed_) {
    for (std::uint64_t i = 0; i < write.count(); ++i) {
      const std::byte* const bytes = write.bytes.data() + i * kBlockBytes;
      const bool kept = prng.chance(keep);
      if (options_.tear_sectors && prng.chance(200)) {
        keep_torn(write.first + i, bytes, &prng);
      } else if (kept) {
        keep_block(write.first + i, bytes);
      }
    }
  }
  unflushed_.clear();
  detach();
}

void SimDisk::kill_at(std::uint64_t n) {
  CHECK_GT(n, std::uint64_t{0});
  crash_at_ = operations_ + n;
  crash_seed_.reset();
}

void SimDisk::kill() {
  // The kernel finishes what it was given.
  for (Unflushed& write : unflushed_) write.ended = true;
  detach();
}

bool SimDisk::rot(DiskOffset offset, std::uint64_t seed) {
  Prng prng(seed);
  const std::size_t byte = prng.below(kBlockBytes);
  return flip(offset.raw() / kBlockBytes, byte,
              std::byte{static_cast<unsigned char>(1U << prng.below(8))});
}

bool SimDisk::rot_byte(DiskOffset offset, std::size_t byte) {
  return flip(offset.raw() / kBlockBytes, byte, std::byte{1});
}

std::optional<DiskOffset> SimDisk::rot_somewhere(std::uint64_t seed, DiskOffset from) {
  const auto first = durable_.lower_bound(div_ceil(from.raw(), kBlockBytes));
  const auto count = static_cast<std::uint64_t>(std::distance(first, durable_.end()));
  if (count == 0) return std::nullopt;
  Prng prng(seed);
  const auto at = std::next(first, static_cast<std::ptrdiff_t>(prng.below(count)));
  const DiskOffset block(at->first * kBlockBytes);
  CHECK(rot(block, prng.next()));
  return block;
}

bool SimDisk::flip(std::uint64_t block, std::size_t byte, std::byte bits) {
  bool found = false;
  for (Unflushed& write : unflushed_) {
    if (block < write.first || block >= write.first + write.count()) continue;
    write.bytes.data()[(block - write.first) * kBlockBytes + byte] ^= bits;
    found = true;
  }
  const auto it = durable_.find(block);
  if (it == durable_.end()) return found;
  (*it->second)[byte] ^= bits;
  return true;
}

std::uint64_t SimDisk::add_write(std::uint64_t block, const std::vector<Bytes>& parts) {
  Unflushed write{next_id_++, block, false, Buffer::allocate(total_bytes(parts))};
  std::byte* to = write.bytes.data();
  for (const Bytes& part : parts) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  unflushed_.push_back(std::move(write));
  return unflushed_.back().id;
}

void SimDisk::end_write(std::uint64_t id) {
  // Ids ascend; absent when a flush of a kill's next life took it.
  const auto it = std::ranges::lower_bound(unflushed_, id, {}, &Unflushed::id);
  if (it != unflushed_.end() && it->id == id) it->ended = true;
}

std::set<std::uint64_t> SimDisk::ended_writes() const {
  std::set<std::uint64_t> ids;
  for (const Unflushed& write : unflushed_) {
    if (write.ended) ids.insert(ids.end(), write.id);
  }
  return ids;
}

// What lies below it would come back over it.
std::set<std::uint64_t> SimDisk::with_those_below(std::uint64_t id) const {
  const auto it = std::ranges::lower_bound(unflushed_, id, {}, &Unflushed::id);
  if (it == unflushed_.end() || it->id != id) return {};
  std::set<std::uint64_t> ids{id};
  for (const Unflushed& write : unflushed_) {
    const bool overlaps =
        write.first < it->first + it->count() && it->first < write.first + write.count();
    if (write.id < id && overlaps) ids.insert(write.id);
  }
  return ids;
}

void SimDisk::make_durable(const std::set<std::uint64_t>& ids,
                           std::optional<std::uint64_t> lossy_seed) {
  Prng prng(lossy_seed.value_or(0));
  const std::uint64_t keep = lossy_seed.has_value() ? keep_per_mille(&prng) : 1000;
  for (const Unflushed& write : unflushed_) {
    if (!ids.contains(write.id)) continue;
    for (std::uint64_t i = 0; i < write.count(); ++i) {
      if (prng.chance(keep)) keep_block(write.first + i, write.bytes.data() + i * kBlockBytes);
    }
  }
  std::erase_if(unflushed_, [&ids](const Unflushed& write) { return ids.contains(write.id); });
}

// Half of the blocks are zeros from now on, also after a crash; the others stay as they were.
void SimDisk::discard(std::uint64_t begin, std::uint64_t end) {
  Prng prng(++discards_);
  for (std::uint64_t block = begin; block < end; ++block) {
    if (prng.chance(500)) continue;
    durable_.erase(block);
    for (Unflushed& write : unflushed_) {
      if (block < write.first || block >= write.first + write.count()) continue;
      std::memset(write.bytes.data() + (block - write.first) * kBlockBytes, 0, kBlockBytes);
    }
  }
}

SimDisk::Block& SimDisk::durable_block(std::uint64_t block) {
  std::unique_ptr<Block>& slot = durable_[block];
  if (slot == nullptr) slot = std::make_unique<Block>();
  return *slot;
}

void SimDisk::keep_block(std::uint64_t block, const std::byte* bytes) {
  std::memcpy(durable_block(block).data(), bytes, kBlockBytes);
  bad_.erase(block);
}

void SimDisk::keep_torn(std::uint64_t block, const std::byte* bytes, Prng* prng) {
  Block& durable = durable_block(block);
  for (std::size_t at = 0; at < kBlockBytes; at += kSectorBytes) {
    if (prng->chance(500)) std::memcpy(durable.data() + at, bytes + at, kSectorBytes);
  }
}

Status SimDisk::read(std::uint64_t first, MutableBytes into) const {
  const std::uint64_t count = into.size() / kBlockBytes;
  std::set<std::uint64_t> failed(bad_.lower_bound(first), bad_.lower_bound(first + count));
  for (std::uint64_t i = 0; i < count; ++i) {
    std::byte* to = into.data() + i * kBlockBytes;
    const auto it = durable_.find(first + i);
    if (it == durable_.end()) {
      std::memset(to, 0, kBlockBytes);
    } else {
      std::memcpy(to, it->second->data(), kBlockBytes);
    }
  }
  for (const Unflushed& write : unflushed_) {
    const std::uint64_t begin = std::max(first, write.first);
    const std::uint64_t end = std::min(first + count, write.first + write.count());
    if (begin >= end) continue;
    std::memcpy(into.data() + (begin - first) * kBlockBytes,
                write.bytes.data() + (begin - write.first) * kBlockBytes,
                (end - begin) * kBlockBytes);
    failed.erase(failed.lower_bound(begin), failed.lower_bound(end));
  }
  if (!failed.empty()) return fail(injected("read: a bad sector"));
  return {};
}

}  // namespace cairn::chunkserver::io
