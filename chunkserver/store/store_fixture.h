// What the scenario tests of PieceStore share: calls that run to their end, and what a read shows.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "chunkserver/testing/store_world.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {

using testing::make_prepare;
using testing::op_id;
using testing::piece_id;
using testing::StoreWorld;

// Block -> value.
using View = std::map<std::uint64_t, std::uint64_t>;

inline Status put(StoreWorld& world, testing::MadePrepare made) {
  PrepareRequest request = std::move(made.request);
  return world.loop().run(world.store().prepare(std::move(request), std::move(made.body)));
}
inline Status write(StoreWorld& world, std::uint64_t seq, std::vector<BlockRange> writes,
                    std::vector<std::uint64_t> values) {
  return put(world,
             make_prepare(piece_id(1), 1, op_id(1, seq), std::move(writes), std::move(values)));
}
inline Status add(StoreWorld& world, std::uint64_t seq, std::vector<BlockRange> deltas,
                  std::vector<std::uint64_t> values) {
  return put(world,
             make_prepare(piece_id(1), 1, op_id(1, seq), {}, std::move(values), std::move(deltas)));
}
inline Status punch(StoreWorld& world, std::uint64_t seq, std::vector<BlockRange> zeroes) {
  testing::MadePrepare made = make_prepare(piece_id(1), 1, op_id(1, seq), {}, {});
  made.request.zeroes = std::move(zeroes);
  return put(world, std::move(made));
}
// Everything below `seq` is decided.
inline void settle(StoreWorld& world, std::uint64_t seq) {
  EXPECT_TRUE(world.loop().run(world.store().settle(piece_id(1), op_id(1, seq))).has_value());
  world.loop().run(world.store().quiesce());
}
inline Status checkpoint(StoreWorld& world) { return world.loop().run(world.store().checkpoint()); }
inline Status remove(StoreWorld& world, PieceId piece) {
  return world.loop().run(world.store().remove(piece));
}
inline Result<ReadAnswer> read(StoreWorld& world, PieceId piece, std::uint64_t first,
                               std::uint64_t count) {
  std::vector<BlockRange> ranges{{first, count}};
  return world.loop().run(world.store().read(piece, std::move(ranges)));
}
inline Result<PieceStatusAnswer> status(StoreWorld& world, PieceId piece) {
  return world.loop().run(world.store().status(piece));
}
inline Status switch_ring(StoreWorld& world, std::string directory, std::uint64_t blocks,
                          bool journal = true) {
  RingPlan plan{std::move(directory), blocks * kBlockBytes, journal};
  return world.loop().run(world.store().switch_ring(std::move(plan)));
}

// What a read shows.
inline View view(StoreWorld& world, PieceId piece, std::uint64_t first, std::uint64_t count) {
  const Result<ReadAnswer> answer = read(world, piece, first, count);
  EXPECT_TRUE(answer.has_value());
  View values;
  if (!answer.has_value()) return values;
  std::size_t i = 0;
  for (const BlockRange& range : answer->present) {
    for (std::uint64_t block = range.first; block < range.end(); ++block, ++i) {
      const Bytes bytes = answer->bytes.span().subspan(i * kBlockBytes, kBlockBytes);
      EXPECT_EQ(crc32c(bytes), answer->crcs[i]);
      values[block] = testing::value_of(bytes).value_or(0);
    }
  }
  return values;
}

// Waits until what is delayed is done.
inline void rest(StoreWorld& world) {
  world.loop().run_for(20s);
  world.loop().run(world.store().quiesce());
}

// The disk block that holds `value`, behind the reserved ones. 0: none does.
inline std::uint64_t find_on_disk(StoreWorld& world, std::uint64_t value) {
  for (std::uint64_t block = kReservedBlocks; block < world.disk_blocks(); ++block) {
    const std::optional<Buffer> bytes = world.read_beside(DiskOffset(block * kBlockBytes));
    if (bytes.has_value() && testing::value_of(bytes->span()) == value) return block;
  }
  return 0;
}

}  // namespace cairn::chunkserver::store
