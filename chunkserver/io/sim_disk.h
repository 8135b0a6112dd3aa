// SimDisk: a disk in memory that loses, keeps or tears what was not flushed when its power is cut.
// For tests and the cluster simulator; deterministic for a seed and a deterministic runtime.
//
// Owns:     the bytes, durable and unflushed apart. attach() gives the BlockDevice of one process
//           life; a crash or a new attach() cuts it off: whatever it does or waits for then ends
//           with kDiskFailed and changes nothing.
// Promises: a crash treats every 4 KiB block of every unflushed write by itself: kept or dropped,
//           or, with `tear_sectors`, kept in some of its 512-byte sectors only. A discard zeroes
//           some blocks at once and for good and leaves the others.
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
  // A disk with 512-byte sectors under power loss. Formats that rely on whole 4 KiB blocks do not
  // survive it; those of Cairn that carry a checksum per block do.
  bool tear_sectors = false;
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
  // The next flush fails, as Linux does it: every block that it should have made durable is durable
  // or gone, by the seed, and nobody can tell which; the device is fenced.
  void fail_next_flush(std::uint64_t seed) { fail_flush_seed_ = seed; }
  // A latent sector error: reads of the block fail until a rewrite of it is durable (an unflushed
  // one is read from the cache of the disk).
  void fail_block(DiskOffset block) { bad_.insert(block.raw() / kBlockBytes); }
  std::size_t bad_blocks() const { return bad_.size(); }
  // Requests that begin while the disk hangs wait until it goes on, or its power is cut.
  void stall(bool on);
  void set_size_limit(ByteCount limit) { options_.size_limit = limit; }
  void set_tear_sectors(bool on) { options_.tear_sectors = on; }

  // Flips one bit of a stored block. False when the block was never written.
  bool rot(DiskOffset block, std::uint64_t seed);
  // Flips the lowest bit of one byte of it.
  bool rot_byte(DiskOffset block, std::size_t byte);
  // Flips one bit of some durable block at or behind `from`: which one, or none when there is none.
  std::optional<DiskOffset> rot_somewhere(std::uint64_t seed, DiskOffset from = DiskOffset(0));

 private:
  class Device;
  using Block = std::array<std::byte, kBlockBytes>;
  struct Unflushed {
    std::uint64_t id = 0;
    std::uint64_t first = 0;
    bool ended = false;
    Buffer bytes;

    std::uint64_t count() const { return bytes.size() / kBlockBytes; }
  };

  bool count_operation();
  std::uint64_t add_write(std::uint64_t block, const std::vector<Bytes>& parts);
  void end_write(std::uint64_t id);
  std::set<std::uint64_t> ended_writes() const;
  // It and the earlier writes of its blocks.
  std::set<std::uint64_t> with_those_below(std::uint64_t id) const;
  // What a flush that covers these writes leaves of them: all; or what the seed says, blocks that
  // are not kept being lost.
  void make_durable(const std::set<std::uint64_t>& ids, std::optional<std::uint64_t> lossy_seed);
  void discard(std::uint64_t begin, std::uint64_t end);
  void keep_block(std::uint64_t block, const std::byte* bytes);
  void keep_torn(std::uint64_t block, const std::byte* bytes, Prng* prng);
  Block& durable_block(std::uint64_t block);
  // Error: kDiskFailed, a latent sector error.
  Status read(std::uint64_t block, MutableBytes into) const;
  void detach();
  bool flip(std::uint64_t block, std::size_t byte, std::byte bits);

  Options options_;
  ByteCount size_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Block>> durable_;
  std::vector<Unflushed> unflushed_;  // in order of writing
  std::set<std::uint64_t> bad_;
  std::uint64_t next_id_ = 1;
  std::uint64_t life_ = 0;
  Device* device_ = nullptr;  // of the present life
  bool attached_ = false;
  std::uint64_t operations_ = 0;
  std::uint64_t flushes_ = 0;
  std::uint64_t discards_ = 0;
  std::optional<std::uint64_t> crash_at_;
  std::optional<std::uint64_t> crash_seed_;  // none: a kill
  std::optional<std::uint64_t> fail_flush_seed_;
  bool fail_reads_ = false;
  bool fail_writes_ = false;
  bool stalled_ = false;
};

}  // namespace cairn::chunkserver::io
