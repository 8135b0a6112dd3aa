// StoreWorld: one PieceStore on a SimDisk and a MemKv that survive it, for tests: open, crash, open
// again.
#pragma once

#include <memory>

#include "chunkserver/io/sim_disk.h"
#include "chunkserver/store/piece_store.h"
#include "chunkserver/testing/virtual_loop.h"
#include "common/kv/mem_kv.h"

namespace cairn::chunkserver::testing {

// RocksDB may flush by itself after any write: so does this one, by chance. It lies on `disk`: when
// the power of that is cut nothing reaches it any more.
class RestlessKv final : public kv::Kv {
 public:
  RestlessKv(const io::SimDisk& disk, std::uint64_t seed) : disk_(disk), prng_(seed) {}
  Result<std::optional<std::string>> get(std::string_view key) const override {
    return below_.get(key);
  }
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override {
    return below_.scan(begin, end, visit);
  }
  Status write(const kv::Batch& batch) override;
  Status flush() override;
  void crash() { below_.crash(); }
  void set_self_flush_per_mille(std::uint64_t per_mille) { self_flush_ = per_mille; }
  void fail_writes(bool on) { fail_writes_ = on; }
  std::uint64_t flushes() const { return flushes_; }

 private:
  bool broken() const { return fail_writes_ || !disk_.attached(); }
  const io::SimDisk& disk_;
  kv::MemKv below_;
  Prng prng_;
  std::uint64_t self_flush_ = 100;
  std::uint64_t flushes_ = 0;
  bool fail_writes_ = false;
};

class StoreWorld {
 public:
  struct Options {
    std::uint64_t seed = 1;
    ByteCount disk_bytes = 64_MiB;
    ByteCount journal_bytes = 32 * kBlockBytes;
    ByteCount grow_bytes = 8_MiB;
    ByteCount size_bytes = 0;
  };
  explicit StoreWorld(Options options);
  ~StoreWorld();

  Status open();
  // Ends the store in order.
  Status close();
  // Ends what is left of the store after the disk was cut off, and forgets what the Kv had not
  // flushed.
  void bury();
  void crash(std::uint64_t seed);
  bool is_open() const { return store_ != nullptr; }

  store::PieceStore& store() { return *store_; }
  io::SimDisk& disk() { return disk_; }
  RestlessKv& kv() { return kv_; }
  VirtualLoop& loop() { return loop_; }

 private:
  Options options_;
  VirtualLoop loop_;
  io::SimDisk disk_;
  RestlessKv kv_;
  std::unique_ptr<observe::Log> log_;
  std::unique_ptr<io::BlockDevice> device_;
  std::unique_ptr<store::PieceStore> store_;
};

// A block whose bytes tell `value`, and back: nullopt for bytes no such block has.
void fill_block(MutableBytes block, std::uint64_t value);
std::optional<std::uint64_t> value_of(Bytes block);
// A PREPARE of the given values for the blocks of `writes`, in order. Makes the body, too.
struct MadePrepare {
  store::PrepareRequest request;
  Buffer body;
};
MadePrepare make_prepare(PieceId piece, std::uint64_t version, store::OpId op,
                         std::vector<store::BlockRange> writes, std::vector<std::uint64_t> values);

inline PieceId piece_id(std::uint64_t chunk, std::uint8_t index = 0) {
  return {ChunkId::from_raw(chunk), PieceIndex(index)};
}
inline store::OpId op_id(std::uint64_t epoch, std::uint64_t seq) {
  return {LeaseEpoch(epoch), OpSeq(seq)};
}

}  // namespace cairn::chunkserver::testing
