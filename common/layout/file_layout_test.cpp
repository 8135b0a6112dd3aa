#include "common/layout/file_layout.h"

#include <gtest/gtest.h>

#include <set>

namespace cairn::layout {
namespace {

using erasure::Encoding;

FileLayout make(std::uint32_t data, std::uint32_t parity, ByteCount cell, ByteCount piece) {
  const Result<Encoding> encoding = Encoding::make(data, parity, data);
  CHECK(encoding.has_value());
  const Result<FileLayout> layout = FileLayout::make(*encoding, cell, piece);
  CHECK(layout.has_value());
  return *layout;
}

struct Geometry {
  std::uint32_t data;
  std::uint32_t parity;
  std::uint64_t cell_blocks;
  std::uint64_t stripes;
};
constexpr Geometry kGeometries[] = {
    {1, 0, 1, 3}, {1, 2, 2, 2}, {2, 1, 1, 2}, {3, 2, 2, 2}, {5, 4, 1, 3}};

FileLayout make(const Geometry& g) {
  return make(g.data, g.parity, g.cell_blocks * kBlockBytes,
              g.cell_blocks * g.stripes * kBlockBytes);
}

TEST(FileLayout, RefusesGeometryThatIsNotWhole) {
  const Encoding encoding = *Encoding::parse_code("4+2");
  struct Case {
    ByteCount cell;
    ByteCount piece;
  };
  for (const Case& c : {Case{0, 4096}, Case{4096, 0}, Case{4095, 4095}, Case{6144, 12288},
                        Case{8192, 12288}, Case{8192, 4096}, Case{1_MiB, 8_GiB}}) {
    EXPECT_EQ(FileLayout::make(encoding, c.cell, c.piece).error().code(), Code::kInvalidArgument)
        << c.cell << " " << c.piece;
  }
  EXPECT_TRUE(FileLayout::make(encoding, 4096, 4096).has_value());
  EXPECT_TRUE(FileLayout::make(encoding, 1_MiB, 4_GiB).has_value());
  EXPECT_FALSE(FileLayout::make(Encoding{3, 3, 3}, 4096, 4096).has_value());
}

TEST(FileLayout, CutsAFileIntoChunks) {
  const FileLayout layout = make(4, 2, 1_MiB, 64_MiB);
  EXPECT_EQ(layout.chunk_bytes(), 256_MiB);
  EXPECT_EQ(layout.stripe_bytes(), 4_MiB);
  EXPECT_EQ(layout.chunk_index(FileOffset(256_MiB - 1)), 0U);
  EXPECT_EQ(layout.chunk_index(FileOffset(256_MiB)), 1U);
  EXPECT_EQ(layout.in_chunk(FileOffset(256_MiB + 5)), ChunkOffset(5));
  EXPECT_EQ(layout.chunk_start(3), FileOffset(768_MiB));
}

TEST(FileLayout, MapsARangeToCells) {
  const FileLayout layout = make(2, 1, 8192, 16384);
  const std::vector<CellRange> ranges = layout.map(ChunkOffset(8000), 9000);
  ASSERT_EQ(ranges.size(), 3U);
  EXPECT_EQ(ranges[0], (CellRange{.piece = 0,
                                  .stripe = 0,
                                  .chunk_offset = ChunkOffset(8000),
                                  .piece_offset = PieceOffset(8000),
                                  .length = 192}));
  EXPECT_EQ(ranges[1], (CellRange{.piece = 1,
                                  .stripe = 0,
                                  .chunk_offset = ChunkOffset(8192),
                                  .piece_offset = PieceOffset(0),
                                  .length = 8192}));
  EXPECT_EQ(ranges[2], (CellRange{.piece = 0,
                                  .stripe = 1,
                                  .chunk_offset = ChunkOffset(16384),
                                  .piece_offset = PieceOffset(8192),
                                  .length = 616}));
  EXPECT_TRUE(layout.map(ChunkOffset(0), 0).empty());
  EXPECT_TRUE(layout.map(ChunkOffset(32768), 0).empty());
}

// Ranges at and around every block boundary: they tile the range, stay in one cell and map back.
TEST(FileLayout, EveryRangeIsTiledAndMapsBack) {
  for (const Geometry& g : kGeometries) {
    const FileLayout layout = make(g);
    std::vector<std::uint64_t> edges;
    for (std::uint64_t at = 0; at <= layout.chunk_bytes(); at += kBlockBytes) {
      if (at > 0) edges.push_back(at - 1);
      edges.push_back(at);
      if (at < layout.chunk_bytes()) edges.push_back(at + 1);
    }
    for (const std::uint64_t begin : edges) {
      for (const std::uint64_t end : edges) {
        if (end < begin) continue;
        std::uint64_t at = begin;
        for (const CellRange& r : layout.map(ChunkOffset(begin), end - begin)) {
          ASSERT_EQ(r.chunk_offset.raw(), at);
          ASSERT_GT(r.length, 0U);
          ASSERT_LT(r.piece, g.data);
          ASSERT_EQ(r.piece_offset.raw() / layout.cell_bytes(), r.stripe);
          ASSERT_EQ((r.piece_offset.raw() + r.length - 1) / layout.cell_bytes(), r.stripe);
          ASSERT_EQ(layout.unmap(r.piece, r.piece_offset), r.chunk_offset);
          ASSERT_EQ(layout.unmap(r.piece, advance(r.piece_offset, r.length - 1)),
                    advance(r.chunk_offset, r.length - 1));
          at += r.length;
        }
        ASSERT_EQ(at, end);
      }
    }
  }
}

TEST(FileLayout, PieceBlocksAreThoseThatTheBytesTouch) {
  for (const Geometry& g : kGeometries) {
    const FileLayout layout = make(g);
    for (std::uint64_t length = 0; length <= layout.chunk_bytes(); length += 1365) {
      std::vector<std::set<std::uint64_t>> touched(g.data);
      for (const CellRange& r : layout.map(ChunkOffset(0), length)) {
        for (ByteCount x = 0; x < r.length; x += kBlockBytes) {
          touched[r.piece].insert((r.piece_offset.raw() + x) / kBlockBytes);
        }
        touched[r.piece].insert((r.piece_offset.raw() + r.length - 1) / kBlockBytes);
      }
      std::set<std::uint64_t> rows;
      for (std::uint32_t i = 0; i < g.data; ++i) {
        ASSERT_EQ(layout.blocks_of_piece(i, length), touched[i].size()) << length;
        rows.insert(touched[i].begin(), touched[i].end());
      }
      for (std::uint32_t i = g.data; i < g.data + g.parity; ++i) {
        ASSERT_EQ(layout.blocks_of_piece(i, length), rows.size()) << length;
      }
    }
  }
}

TEST(FileLayout, ASmallFileCostsOneBlockOfEachPieceItNeeds) {
  const FileLayout layout = make(4, 2, 1_MiB, 64_MiB);
  EXPECT_EQ(layout.blocks_of_piece(0, 4096), 1U);
  EXPECT_EQ(layout.blocks_of_piece(1, 4096), 0U);
  EXPECT_EQ(layout.blocks_of_piece(4, 4096), 1U);
  EXPECT_EQ(layout.blocks_of_piece(5, 1), 1U);
  EXPECT_EQ(layout.blocks_of_piece(5, 256_MiB), 16384U);
}

}  // namespace
}  // namespace cairn::layout
