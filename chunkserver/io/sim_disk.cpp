#include "chunkserver/io/sim_disk.h"

#include <algorithm>

namespace cairn::chunkserver::io {
namespace {

Error cut_off() { return Error(Code::kDiskFailed, "the simulated power was cut"); }
Error injected(const char* what) {
  return Error(Code::kDiskFailed, std::string("injected failure of a ") + what);
}

}  // namespace

class SimDisk::Device final : public BlockDevice {
 public:
  Device(SimDisk* disk, runtime::Runtime* runtime, std::uint64_t life)
      : disk_(disk), runtime_(runtime), life_(life) {}

  ByteCount size() const override { return disk_->size_; }
  ByteCount space() const override { return disk_->options_.size_limit; }
  bool direct() const override { return true; }
  ByteCount size_limit() const override {
    return std::max(disk_->size_, disk_->options_.size_limit);
  }
  std::string engine() const override { return "memory"; }

  Task<Status> read(DiskOffset offset, MutableBytes into) override {
    CO_TRY_VOID(check_read(*this, offset, into));
    co_await pause(disk_->options_.read_latency);
    if (!alive()) co_return fail(cut_off());
    if (disk_->fail_reads_) co_return fail(injected("read"));
    disk_->read(offset.raw() / kBlockBytes, into);
    co_return Status();
  }

  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override {
    CO_TRY_VOID(check_write(*this, offset, parts));
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
    co_return Status();
  }

  Task<Status> flush() override {
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
    disk_->make_durable(ids);
    co_return Status();
  }

  Task<Status> discard(DiskOffset, ByteCount) override {
    if (!alive()) co_return fail(cut_off());
    co_return Status();
  }

  Task<Status> grow(ByteCount size) override {
    if (!alive()) co_return fail(cut_off());
    if (size > size_limit()) co_return fail(Code::kNoSpace, "the simulated disk is full");
    disk_->size_ = std::max(disk_->size_, size);
    co_return Status();
  }

 private:
  bool alive() const { return disk_->attached_ && disk_->life_ == life_; }
  runtime::SleepAwaiter pause(Duration latency) const { return sleep_for(*runtime_, latency); }

  SimDisk* disk_;
  runtime::Runtime* runtime_;
  std::uint64_t life_;
  bool fenced_ = false;
};

SimDisk::SimDisk(Options options) : options_(options) {}
SimDisk::~SimDisk() = default;

std::unique_ptr<BlockDevice> SimDisk::attach(runtime::Runtime& runtime) {
  ++life_;
  attached_ = true;
  return std::make_unique<Device>(this, &runtime, life_);
}

void SimDisk::detach() {
  attached_ = false;
  crash_at_.reset();
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
  // Some crashes keep nearly all, some nearly nothing, most a mixture.
  const std::uint64_t keep_per_mille =
      std::array<std::uint64_t, 4>{0, 300, 700, 1000}[prng.below(4)];
  for (Unflushed& write : unflushed_) {
    if (prng.chance(keep_per_mille)) durable_[write.block] = std::move(write.bytes);
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

bool SimDisk::flip(std::uint64_t block, std::size_t byte, std::byte bits) {
  bool found = false;
  for (Unflushed& write : unflushed_) {
    if (write.block != block) continue;
    (*write.bytes)[byte] ^= bits;
    found = true;
  }
  const auto it = durable_.find(block);
  if (it == durable_.end()) return found;
  (*it->second)[byte] ^= bits;
  return true;
}

std::uint64_t SimDisk::add_write(std::uint64_t block, const std::vector<Bytes>& parts) {
  const std::uint64_t id = next_id_++;
  for (const Bytes& part : parts) {
    for (std::size_t at = 0; at < part.size(); at += kBlockBytes) {
      auto bytes = std::make_unique<Block>();
      std::memcpy(bytes->data(), part.data() + at, kBlockBytes);
      unflushed_.push_back({id, block++, false, std::move(bytes)});
    }
  }
  return id;
}

void SimDisk::end_write(std::uint64_t id) {
  for (Unflushed& write : unflushed_) {
    if (write.id == id) write.ended = true;
  }
}

std::set<std::uint64_t> SimDisk::ended_writes() const {
  std::set<std::uint64_t> ids;
  for (const Unflushed& write : unflushed_) {
    if (write.ended) ids.insert(write.id);
  }
  return ids;
}

void SimDisk::make_durable(const std::set<std::uint64_t>& ids) {
  for (Unflushed& write : unflushed_) {
    if (ids.contains(write.id)) durable_[write.block] = std::move(write.bytes);
  }
  std::erase_if(unflushed_, [](const Unflushed& write) { return write.bytes == nullptr; });
}

void SimDisk::read(std::uint64_t block, MutableBytes into) const {
  const std::uint64_t first = block;
  const std::uint64_t count = into.size() / kBlockBytes;
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
    if (write.block < first || write.block >= first + count) continue;
    std::memcpy(into.data() + (write.block - first) * kBlockBytes, write.bytes->data(),
                kBlockBytes);
  }
}

}  // namespace cairn::chunkserver::io
