// Power: one machine's current, and the devices and the index that hang on it. Counts writes and
// flushes of all of them together, so that "the n-th" is a point in the life of the machine, and
// ends that life there: for every disk at the same instant.
//
// Owns:     nothing; the disks outlive it.
// Promises: deterministic. The request at which it ends takes part in the fate of what is
//           unflushed.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "chunkserver/io/sim_disk.h"
#include "common/kv/mem_kv.h"

namespace cairn::chunkserver::testing {

enum class Fate {
  kBySeed,
  kAllKept,  // everything that was written is there
  kAllLost,  // nothing that was not flushed is
  kKilled,   // the process died, the machine stays up
};

class Power {
 public:
  void add(io::SimDisk* disk) { disks_.push_back(disk); }
  void remove(io::SimDisk* disk) { std::erase(disks_, disk); }

  // It ends when the n-th operation from now begins (1: the next one).
  void end_at(std::uint64_t n, Fate fate, std::uint64_t seed);
  void disarm() { end_at_.reset(); }
  // The same, counted from the begin of the next life.
  void end_at_next_life(std::uint64_t n, Fate fate, std::uint64_t seed) {
    next_life_ = [this, n, fate, seed] { end_at(n, fate, seed); };
  }
  void end_now(Fate fate, std::uint64_t seed);
  // The next life.
  void on() {
    up_ = true;
    disarm();
    if (next_life_) std::exchange(next_life_, nullptr)();
  }
  bool up() const { return up_; }
  bool armed() const { return end_at_.has_value(); }
  std::uint64_t operations() const { return operations_; }
  // Of the last end: did unflushed changes of the index have to go?
  Fate fate() const { return fate_; }

  // An operation begins. True: it is the last one; finish(disk) when it was begun.
  bool count();
  void arm_disk(io::SimDisk* disk, std::uint64_t operation = 1) const;
  void finish();

 private:
  std::vector<io::SimDisk*> disks_;
  std::uint64_t operations_ = 0;
  std::optional<std::uint64_t> end_at_;
  std::function<void()> next_life_;
  Fate fate_ = Fate::kBySeed;
  std::uint64_t seed_ = 0;
  bool up_ = false;
};

// A device of that machine. Discards and growth take a while, so that they race with the rest.
class PoweredDevice final : public io::BlockDevice {
 public:
  PoweredDevice(runtime::Runtime& runtime, Power& power, io::SimDisk& disk,
                Duration discard_latency)
      : BlockDevice(runtime),
        power_(power),
        disk_(disk),
        below_(disk.attach(runtime)),
        discard_latency_(discard_latency) {}

  ByteCount size() const override { return below_->size(); }
  ByteCount space() const override { return below_->space(); }
  bool direct() const override { return below_->direct(); }
  ByteCount size_limit() const override { return below_->size_limit(); }
  std::string engine() const override { return below_->engine(); }
  Task<Status> read(DiskOffset offset, MutableBytes into) override {
    return below_->read(offset, into);
  }
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override;
  Task<Status> flush() override;
  Task<Status> write_through(io::DeviceWrite write) override;
  Task<Status> discard(DiskOffset offset, ByteCount length) override;
  Task<Status> grow(ByteCount size) override;

 private:
  Power& power_;
  io::SimDisk& disk_;
  std::unique_ptr<io::BlockDevice> below_;
  Duration discard_latency_;
};

// The index: RocksDB may flush by itself after any write, so does this one, by chance. Nothing
// reaches it when the power is off. Its writes and flushes are points where the power may end, too.
class RestlessKv final : public kv::Kv {
 public:
  RestlessKv(Power& power, std::uint64_t seed) : power_(power), prng_(seed) {}
  Result<std::optional<std::string>> get(std::string_view key) const override;
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override;
  Status write(const kv::Batch& batch) override;
  Status flush() override;

  // What the end of the power left. A killed process leaves what RocksDB had handed to the kernel:
  // that is what was flushed.
  void crash() { below_.crash(); }
  void set_self_flush_per_mille(std::uint64_t per_mille) { self_flush_ = per_mille; }
  void fail_writes(bool on) { fail_writes_ = on; }
  void fail_reads(bool on) { fail_reads_ = on; }
  // Everything is gone, as when the directory was lost.
  void wipe();
  std::uint64_t flushes() const { return flushes_; }
  std::size_t size() const { return below_.size(); }

 private:
  Status usable() const;

  Power& power_;
  kv::MemKv below_;
  Prng prng_;
  std::uint64_t self_flush_ = 100;
  std::uint64_t flushes_ = 0;
  bool fail_writes_ = false;
  bool fail_reads_ = false;
};

}  // namespace cairn::chunkserver::testing
