// What the tests of journal, homer and recovery share: a simulated data disk, drives for ring files
// that may be there or not, an index that forgets what was not flushed, and records with their
// blocks.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "chunkserver/io/sim_disk.h"
#include "chunkserver/store/recovery.h"
#include "chunkserver/testing/virtual_loop.h"
#include "common/base/crc32c.h"
#include "common/kv/mem_kv.h"

namespace cairn::chunkserver::store {

// A block that tells its number.
inline void fill(MutableBytes block, std::uint64_t number) {
  for (std::size_t at = 0; at < block.size(); at += 8)
    store_le(block.data() + at, number * 77 + at);
}
// Blocks `first`, `first` + 1, ...
inline Buffer blocks_of(std::uint64_t first, std::uint64_t count) {
  Buffer buffer = Buffer::allocate(count * kBlockBytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    fill(buffer.span().subspan(i * kBlockBytes, kBlockBytes), first + i);
  }
  return buffer;
}
inline std::uint32_t crc_of(std::uint64_t number) {
  const Buffer block = blocks_of(number, 1);
  return crc32c(block.span());
}

struct MadeRecord {
  Record record;
  Buffer body;
};
// An op `seq` of epoch 1 that writes the blocks 0 .. of a piece to `homes`, with contents from
// `number` on.
inline MadeRecord prepare_of(std::uint64_t chunk, std::uint64_t seq, std::vector<Extent> homes,
                             bool journaled, std::uint64_t number) {
  PrepareRecord record;
  record.piece = {ChunkId::from_raw(chunk), cairn::PieceIndex(0)};
  record.version = ChunkVersion(1);
  record.op = {LeaseEpoch(1), OpSeq(seq)};
  record.participants = 3;
  const std::uint64_t count = total_blocks(homes);
  record.writes = {{0, count}};
  record.payload.extents = std::move(homes);
  record.payload.journaled = journaled;
  for (std::uint64_t i = 0; i < count; ++i) record.payload.crcs.push_back(crc_of(number + i));
  return {std::move(record), blocks_of(number, count)};
}
inline MadeRecord settle_of(std::uint64_t chunk, std::uint64_t below) {
  return {
      SettleRecord{{ChunkId::from_raw(chunk), cairn::PieceIndex(0)}, {LeaseEpoch(1), OpSeq(below)}},
      Buffer()};
}

class DiskWorld {
 public:
  explicit DiskWorld(std::uint64_t seed = 1) : loop(seed) {}

  // Another process life.
  void attach() { data_device = data.attach(loop); }
  // A drive for rings under that name; its file is made by whoever opens it so.
  io::SimDisk& plug(const std::string& directory) {
    Drive& drive = drives[directory];
    if (drive.disk == nullptr) drive.disk = std::make_unique<io::SimDisk>();
    drive.there = true;
    return *drive.disk;
  }
  void unplug(const std::string& directory) { drives[directory].there = false; }
  bool has_file(const std::string& directory) { return drives[directory].has_file; }
  io::SimDisk& disk_of(const std::string& directory) { return *drives[directory].disk; }

  OpenRing open_ring() {
    return [this](const std::string& directory,
                  bool create) -> Result<std::unique_ptr<io::BlockDevice>> {
      const auto it = drives.find(directory);
      if (it == drives.end() || !it->second.there) return fail(Code::kDiskFailed, "no such drive");
      Drive& drive = it->second;
      if (!drive.has_file && !create) return fail(Code::kNotFound, "no such file");
      drive.has_file = true;
      return drive.disk->attach(loop);
    };
  }
  RemoveRing remove_ring() {
    return [this](const std::string& directory) -> Status {
      ++removals;
      Drive& drive = drives[directory];
      if (fail_removal) return fail(Code::kDiskFailed, "the file does not go");
      drive.has_file = false;
      drive.disk = std::make_unique<io::SimDisk>();
      return {};
    };
  }
  RecoveryOptions options(std::uint64_t ring_blocks = 64, std::string directory = {}) {
    RecoveryOptions options;
    options.ring.blocks = ring_blocks;
    options.ring.directory = std::move(directory);
    options.open_ring = open_ring();
    options.remove_ring = remove_ring();
    return options;
  }
  Result<RecoveredStore> recover_with(RecoveryOptions options) {
    attach();
    return loop.run(recover(&loop, data_device.get(), &kv, std::move(options)));
  }
  Result<RecoveredStore> open(std::uint64_t ring_blocks = 64, std::string directory = {}) {
    return recover_with(options(ring_blocks, std::move(directory)));
  }
  // The power is cut: disk, ring drives and index lose what was not flushed.
  void crash(std::uint64_t seed) {
    if (data.attached()) data.crash(seed);
    for (auto& [name, drive] : drives) {
      if (drive.disk != nullptr && drive.disk->attached()) drive.disk->crash(seed + 1);
    }
    kv.crash();
  }

  void write(std::uint64_t block, const Buffer& bytes) { write_to(*data_device, block, bytes); }
  void write_to(io::BlockDevice& device, std::uint64_t block, const Buffer& bytes) {
    std::vector<io::DeviceWrite> writes;
    writes.push_back({DiskOffset(block * kBlockBytes), {bytes.span()}});
    const Status status = loop.run(device.write_durably(std::move(writes)));
    ASSERT_TRUE(status.has_value()) << status.error().to_string();
  }
  Buffer read(std::uint64_t block) {
    Buffer bytes = Buffer::allocate(kBlockBytes);
    const Status status =
        loop.run(data_device->read(DiskOffset(block * kBlockBytes), bytes.span()));
    EXPECT_TRUE(status.has_value());
    return bytes;
  }
  bool holds(std::uint64_t block, std::uint64_t number) {
    return crc32c(std::as_const(*std::make_unique<Buffer>(read(block))).span()) == crc_of(number);
  }

  struct Drive {
    std::unique_ptr<io::SimDisk> disk;
    bool there = false;
    bool has_file = false;
  };
  testing::VirtualLoop loop;
  io::SimDisk data;
  std::map<std::string, Drive> drives;
  kv::MemKv kv;
  std::unique_ptr<io::BlockDevice> data_device;
  int removals = 0;
  bool fail_removal = false;
};

// Writes batches to a ring by hand, as a journal would.
class RingWriter {
 public:
  RingWriter(DiskWorld& world, RingDevice& ring, JournalPosition position)
      : world_(world), ring_(&ring), position_(position) {}

  // The store was opened again: the same ring, another object.
  void continue_on(RingDevice& ring) { ring_ = &ring; }

  // Header, records and journaled blocks, durable; the direct blocks are somebody else's.
  void put(const std::vector<MadeRecord>& made) { put_at(position_.next_block, made); }
  void put_at(std::uint64_t at, const std::vector<MadeRecord>& made) {
    std::vector<const Record*> records;
    for (const MadeRecord& one : made) records.push_back(&one.record);
    const EncodedBatch encoded = encode_batch(ring_->place().id, position_, records);
    std::vector<Bytes> parts{encoded.bytes.span()};
    for (const MadeRecord& one : made) {
      if (journaled_blocks(one.record) != 0) parts.push_back(one.body.span());
    }
    const std::uint64_t blocks = io::total_bytes(parts) / kBlockBytes;
    std::vector<io::DeviceWrite> writes;
    writes.push_back(ring_->write_of(at, std::move(parts)));
    const Status status = world_.loop.run(ring_->write_durably(std::move(writes)));
    ASSERT_TRUE(status.has_value()) << status.error().to_string();
    position_ = {position_.sequence + 1, at + blocks, encoded.crc};
    last_at_ = at;
  }
  // Overwrites a block of the ring with zeros.
  void damage(std::uint64_t block) {
    const Buffer zeros = Buffer::zeroed(kBlockBytes);
    std::vector<io::DeviceWrite> writes;
    writes.push_back(ring_->write_of(block, {zeros.span()}));
    ASSERT_TRUE(world_.loop.run(ring_->write_durably(std::move(writes))).has_value());
  }
  const JournalPosition& position() const { return position_; }
  std::uint64_t last_at() const { return last_at_; }

 private:
  DiskWorld& world_;
  RingDevice* ring_;
  JournalPosition position_;
  std::uint64_t last_at_ = 0;
};

}  // namespace cairn::chunkserver::store
