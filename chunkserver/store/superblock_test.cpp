// Superblock and ring header: their bytes, what is refused, which of two slots counts.
#include "chunkserver/store/superblock.h"

#include "chunkserver/store/disk_fixture.h"

namespace cairn::chunkserver::store {
namespace {

Superblock sample() {
  Superblock superblock;
  superblock.generation = 3;
  superblock.store_id = 0x1122334455667788;
  superblock.ring = {.id = 0xa1, .first = kReservedBlocks, .blocks = 64, .directory = {}};
  superblock.old_ring =
      RingPlace{.id = 0xb2, .first = 0, .blocks = 128, .directory = "/ssd/j", .journal = false};
  return superblock;
}

Result<std::optional<Superblock>> decode(const Buffer& block) {
  return decode_superblock(block.span());
}

TEST(Superblock, GoldenBytes) {
  const Buffer block = encode(sample());
  ASSERT_EQ(block.size(), kBlockBytes);
  const auto u32 = [&](std::size_t at) { return load_le<std::uint32_t>(block.data() + at); };
  const auto u64 = [&](std::size_t at) { return load_le<std::uint64_t>(block.data() + at); };
  EXPECT_EQ(as_text(block.span().first(8)), std::string_view("CAIRNS2\0", 8));
  EXPECT_EQ(u32(8), 2U);
  EXPECT_EQ(u64(16), 3U);
  EXPECT_EQ(u64(24), 0x1122334455667788U);
  EXPECT_EQ(u32(32), 1U);
  EXPECT_EQ(u64(36), 0xa1U);
  EXPECT_EQ(u64(44), 256U);
  EXPECT_EQ(u64(52), 64U);
  EXPECT_EQ(u32(60), 1U);
  EXPECT_EQ(u32(64), 0U);
  EXPECT_EQ(u64(68), 0xb2U);
  EXPECT_EQ(u64(76), 0U);
  EXPECT_EQ(u64(84), 128U);
  EXPECT_EQ(u32(92), 0U);
  EXPECT_EQ(u32(96), 6U);
  EXPECT_EQ(as_text(block.span().subspan(100, 6)), "/ssd/j");
  EXPECT_EQ(u32(12), 0x69246b79U);
}

TEST(Superblock, ComesBackAsItWas) {
  Superblock superblock = sample();
  EXPECT_EQ(decode(encode(superblock)).value(), superblock);
  superblock.old_ring.reset();
  superblock.ring = {.id = 1, .first = 0, .blocks = kRingBlocksMax, .directory = "/x"};
  EXPECT_EQ(decode(encode(superblock)).value(), superblock);
  // The longest names fit.
  superblock.ring.directory = "/" + std::string(kRingDirectoryMax - 1, 'a');
  superblock.old_ring = superblock.ring;
  EXPECT_EQ(decode(encode(superblock)).value(), superblock);
  EXPECT_EQ(decode(Buffer::zeroed(kBlockBytes)).value(), std::nullopt);
}

TEST(Superblock, EveryFlippedBitIsSeen) {
  const Buffer right = encode(sample());
  for (std::size_t bit = 0; bit < 8 * kBlockBytes; bit += bit < 1000 ? 1 : 97) {
    Buffer block = Buffer::copy_of(right.span());
    block.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto found = decode(block);
    ASSERT_FALSE(found.has_value()) << "bit " << bit;
  }
}

TEST(Superblock, NonsenseWithARightChecksumIsRefused) {
  const auto refused = [](const std::function<void(Superblock&)>& change) {
    Superblock superblock = sample();
    change(superblock);
    const auto found = decode(encode(superblock));
    return !found.has_value() && found.error().code() == Code::kCorrupt;
  };
  EXPECT_TRUE(refused([](Superblock& s) { s.generation = 0; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.store_id = 0; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.ring.id = 0; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.ring.blocks = kRingBlocksMin - 1; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.ring.blocks = kRingBlocksMax + 1; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.ring.first = kReservedBlocks - 1; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.ring.first = UINT64_MAX - 10; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.old_ring->first = 1; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.old_ring->directory = "relative"; }));
  EXPECT_TRUE(refused([](Superblock& s) { s.old_ring->directory = std::string("/a\0b", 4); }));
}

TEST(Superblock, AnotherFormatIsNotDamage) {
  Buffer old = Buffer::zeroed(kBlockBytes);
  std::memcpy(old.data(), "CAIRNS1", 8);
  EXPECT_EQ(decode(old).error().code(), Code::kUnsupported);
}

class Slots : public ::testing::Test {
 protected:
  Slots() {
    world_.attach();
    EXPECT_TRUE(world_.loop.run(world_.data_device->grow(16 * kBlockBytes)).has_value());
  }
  Result<std::optional<Superblock>> read() {
    return world_.loop.run(read_superblock(world_.data_device.get()));
  }
  void write(std::uint64_t generation, std::uint64_t store_id = 7) {
    Superblock superblock = sample();
    superblock.generation = generation;
    superblock.store_id = store_id;
    const Status status = world_.loop.run(write_superblock(world_.data_device.get(), superblock));
    ASSERT_TRUE(status.has_value());
  }
  std::uint64_t generation() {
    const auto found = read();
    if (!found.has_value() || !found->has_value()) return 0;
    return (*found)->generation;
  }
  DiskWorld world_;
};

TEST_F(Slots, TheNewestCounts) {
  EXPECT_EQ(read().value(), std::nullopt);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    write(i);
    EXPECT_EQ(generation(), i);
  }
  EXPECT_EQ(world_.data.flushes(), 5U);
}

TEST_F(Slots, ATornNewestLeavesTheOneBefore) {
  write(4);
  write(5);
  world_.data.rot(DiskOffset(kBlockBytes), 1);
  EXPECT_EQ(generation(), 4U);
  // A bad sector is the same.
  write(5);
  world_.data.fail_block(DiskOffset(0));
  EXPECT_EQ(generation(), 5U);
}

TEST_F(Slots, NothingValidInAUsedFileIsDamage) {
  write(1);
  world_.data.rot(DiskOffset(kBlockBytes), 1);
  EXPECT_EQ(read().error().code(), Code::kCorrupt);
  write(2);
  world_.data.rot(DiskOffset(0), 1);
  EXPECT_EQ(read().error().code(), Code::kCorrupt);
}

TEST_F(Slots, SlotsThatContradictEachOtherAreDamage) {
  write(1, 7);
  write(2, 8);
  EXPECT_EQ(read().error().code(), Code::kCorrupt);
  // Each in the place of the other.
  Superblock superblock = sample();
  superblock.generation = 4;
  world_.write(1, encode(superblock));
  world_.write(0, Buffer::zeroed(kBlockBytes));
  EXPECT_EQ(read().error().code(), Code::kCorrupt);
}

TEST_F(Slots, ThereIsNoWayBackBehindANewerFormat) {
  write(1);
  Buffer newer = Buffer::zeroed(kBlockBytes);
  std::memcpy(newer.data(), "CAIRNS1", 8);
  world_.write(0, newer);
  EXPECT_EQ(read().error().code(), Code::kUnsupported);
}

TEST(RingHeader, ComesBackAndEveryFlippedBitIsSeen) {
  const RingHeader header{0xa1, 0xb2, 64};
  const Buffer right = encode(header);
  EXPECT_EQ(decode_ring_header(right.span()).value(), header);
  EXPECT_EQ(as_text(right.span().first(8)), std::string_view("CAIRNJ1\0", 8));
  for (std::size_t bit = 0; bit < 8 * kBlockBytes; bit += bit < 500 ? 1 : 89) {
    Buffer block = Buffer::copy_of(right.span());
    block.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_FALSE(decode_ring_header(std::as_const(block).span()).has_value()) << "bit " << bit;
  }
  const Buffer zeros = Buffer::zeroed(kBlockBytes);
  EXPECT_EQ(decode_ring_header(zeros.span()).error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::chunkserver::store
