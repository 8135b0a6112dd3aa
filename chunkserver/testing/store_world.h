// StoreWorld: one PieceStore on simulated disks and an index that survive it, for tests: open, cut
// the power, kill, open again. The data file is one disk; every journal directory has another.
#pragma once

#include <functional>
#include <memory>

#include "chunkserver/store/piece_store.h"
#include "chunkserver/testing/block_pattern.h"
#include "chunkserver/testing/power.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::testing {

class StoreWorld {
 public:
  struct Options {
    std::uint64_t seed = 1;
    ByteCount disk_bytes = 64_MiB;
    ByteCount journal_bytes = 32 * kBlockBytes;
    ByteCount grow_bytes = 8_MiB;
    ByteCount size_bytes = 0;
    ByteCount ring_disk_bytes = 16_MiB;  // of the disk of a journal directory
    Duration read_latency = {};
    Duration write_latency = {};
    Duration flush_latency = {};
    Duration discard_latency = {};
    Duration index_latency = {};  // 0: calls of the index do not leave the loop
    bool tear_sectors = false;
    // What the store logs; empty: nobody listens.
    std::function<void(const std::string& line)> log = {};
    // The last word about the options of the store.
    std::function<void(store::StoreOptions*)> tune = {};
  };
  explicit StoreWorld(Options options);
  ~StoreWorld();
  StoreWorld(const StoreWorld&) = delete;
  StoreWorld& operator=(const StoreWorld&) = delete;

  Status open();
  // Ends the store in order.
  Status close();
  // Ends what is left of the store after the power was cut, and forgets what the index had not
  // flushed.
  void bury();
  void crash(std::uint64_t seed, Fate fate = Fate::kBySeed);
  void kill() { crash(0, Fate::kKilled); }
  bool is_open() const { return store_ != nullptr; }

  store::PieceStore& store() { return *store_; }
  Power& power() { return power_; }
  io::SimDisk& disk() { return disk_; }
  RestlessKv& kv() { return kv_; }
  VirtualLoop& loop() { return loop_; }

  // ---- journal directories ----
  // The disk of the ring file in `directory`; nullptr: there is no such file.
  io::SimDisk* ring_disk(const std::string& directory);
  std::vector<std::string> ring_files() const;
  // The file is gone.
  void lose_ring(const std::string& directory);
  // Where the superblock says that the ring is. nullopt: there is none that can be read.
  std::optional<store::RingPlace> ring_place();
  // Bytes of the data file, or of the ring file of `directory`, while no store is open.
  std::optional<Buffer> read_raw(const std::string& directory, DiskOffset at, ByteCount bytes);
  void write_raw(const std::string& directory, DiskOffset at, const Buffer& bytes);
  // A block of the data file while one is.
  std::optional<Buffer> read_beside(DiskOffset at);
  std::uint64_t disk_blocks() const { return device_->size() / kBlockBytes; }
  // The ring file of another world, whose store is not open, is here now, in place of what was.
  void lend_ring(const std::string& directory, StoreWorld* from);
  // A file without a byte.
  void make_empty_ring(const std::string& directory);

 private:
  struct RingFile {
    std::unique_ptr<io::SimDisk> disk;
    bool exists = false;
  };
  Result<std::unique_ptr<io::BlockDevice>> open_ring(const std::string& directory, bool create);
  Status remove_ring(const std::string& directory);
  static Task<Status> run_late(runtime::Runtime* runtime, Duration latency,
                               std::move_only_function<Status()> call);
  io::SimDiskOptions disk_options(ByteCount bytes) const;

  Options options_;
  VirtualLoop loop_;
  Power power_;
  io::SimDisk disk_;
  RestlessKv kv_;
  std::map<std::string, RingFile> rings_;
  std::vector<std::unique_ptr<io::SimDisk>> removed_;  // a device may still hold one
  std::unique_ptr<observe::Log> log_;
  std::unique_ptr<io::BlockDevice> device_;
  std::unique_ptr<store::PieceStore> store_;
};

// A PREPARE of the given values for the blocks of `writes`, then of `deltas`, in order. Makes the
// body, too.
struct MadePrepare {
  store::PrepareRequest request;
  Buffer body;
};
MadePrepare make_prepare(PieceId piece, std::uint64_t version, store::OpId op,
                         std::vector<store::BlockRange> writes, std::vector<std::uint64_t> values,
                         std::vector<store::BlockRange> deltas = {});

inline PieceId piece_id(std::uint64_t chunk, std::uint8_t index = 0) {
  return {ChunkId::from_raw(chunk), PieceIndex(index)};
}
inline store::OpId op_id(std::uint64_t epoch, std::uint64_t seq) {
  return {LeaseEpoch(epoch), OpSeq(seq)};
}

}  // namespace cairn::chunkserver::testing
