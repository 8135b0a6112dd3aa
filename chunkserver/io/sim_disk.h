// SimDisk: a disk in memory that loses, keeps or tears what was not flushed when its power is cut.
// For tests and the cluster simulator; deterministic for a seed and a deterministic runtime.
//
// Owns:     the bytes, durable and unflushed apart. attach() gives the BlockDevice of one process
//           life; a crash or a new attach() cuts it off: whatever it does or waits for then ends
//           with kDiskFailed and changes nothing.
// Promises: a crash treats every 4 KiB block of every unflushed write by itself: kept or dropped.
// Limits:   memory grows with the blocks written.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "chunkserver/io/block_device.h"
#include "common/base/prng.h"
#include "common/base/time.h"
#include "common/runtime/runtime.h"

namespace cairn::chunkserver::io {

struct SimDiskOptions {
  ByteCount size_limit = 1_GiB;
  Duration read_latency = {};
  Duration write_latency = {};
  Duration flush_latency = {};
};

class SimDisk {
 public:
  using Options = SimDiskOptions;
  explicit SimDisk(Options options = Options());
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  // The device may outlive the disk's crash, not the disk.
  std::unique_ptr<BlockDevice> attach(runtime::Runtime& runtime);

  // The power is cut now.
  void crash(std::uint64_t seed);
  // The power is cut when the n-th write or flush from now begins (1: the next one).
  void crash_at(std::uint64_t n, std::uint64_t seed);
  // The process is killed: the machine stays up, so the next life sees everything that was written;
  // but what was not flushed may still be lost with a later power cut.
  void kill();
  // The same, when the n-th write or flush from now begins.
  void kill_at(std::uint64_t n);
  bool attached() const { return attached_; }
  // Writes and flushes begun in the whole life of the disk.
  std::uint64_t operations() const { return operations_; }
  std::uint64_t flushes() const { return flushes_; }

  // From now on: every request of the kind fails.
  void fail_reads(bool on) { fail_reads_ = on; }
  void fail_writes(bool on) { fail_writes_ = on; }
  void set_size_limit(ByteCount limit) { options_.size_limit = limit; }
  // Flips one bit of a stored block. False when the block was never written.
  bool rot(DiskOffset block, std::uint64_t seed);
  // Flips the lowest bit of one byte of it.
  bool rot_byte(DiskOffset block, std::size_t byte);

 private:
  class Device;
  using Block = std::array<std::byte, kBlockBytes>;
  struct Unflushed {
    std::uint64_t id = 0;
    std::uint64_t block = 0;
    bool ended = false;
    std::unique_ptr<Block> bytes;
  };

  bool count_operation();
  std::uint64_t add_write(std::uint64_t block, const std::vector<Bytes>& parts);
  void end_write(std::uint64_t id);
  void make_durable(const std::set<std::uint64_t>& ids);
  std::set<std::uint64_t> ended_writes() const;
  void read(std::uint64_t block, MutableBytes into) const;
  void detach();
  bool flip(std::uint64_t block, std::size_t byte, std::byte bits);

  Options options_;
  ByteCount size_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Block>> durable_;
  std::vector<Unflushed> unflushed_;  // in order of writing
  std::uint64_t next_id_ = 1;
  std::uint64_t life_ = 0;
  bool attached_ = false;
  std::uint64_t operations_ = 0;
  std::uint64_t flushes_ = 0;
  std::optional<std::uint64_t> crash_at_;
  std::optional<std::uint64_t> crash_seed_;  // none: a kill
  bool fail_reads_ = false;
  bool fail_writes_ = false;
};

}  // namespace cairn::chunkserver::io
