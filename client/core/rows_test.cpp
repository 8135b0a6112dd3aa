// Partly written rows: what is read and sent for them, and that every row decodes afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "client/core/file_cache.h"
#include "client/core/testing/fake_cluster.h"
#include "common/base/prng.h"
#include "common/erasure/codec.h"

namespace cairn::client {
namespace {

using testing::Block;
using testing::FakeCluster;
using testing::FakeCs;
using testing::joined;
using testing::Shape;

constexpr Shape kFourTwo{};
// Cells that are not whole segments of the cache; two pieces may be missing.
constexpr Shape kSmallCells{
    .data = 4, .parity = 2, .min = 4, .cell_bytes = 20'480, .piece_bytes = 5 * 20'480};
constexpr Shape kThreeOne{
    .data = 3, .parity = 1, .min = 3, .cell_bytes = 16'384, .piece_bytes = 8 * 16'384};
constexpr Shape kTwoOne{
    .data = 2, .parity = 1, .min = 2, .cell_bytes = 131'072, .piece_bytes = 131'072};
constexpr Shape kFiveThree{
    .data = 5, .parity = 3, .min = 5, .cell_bytes = 8'192, .piece_bytes = 8 * 8'192};

std::vector<std::byte> pattern(std::uint64_t seed, std::size_t count) {
  Prng prng(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(prng.next());
  return bytes;
}

// Blocks that crossed the wire since the last look.
struct Traffic {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
  std::uint64_t deltas = 0;
  std::uint64_t prepares = 0;
  friend bool operator==(const Traffic&, const Traffic&) = default;
};
void PrintTo(const Traffic& t, std::ostream* out) {
  *out << t.read << " read, " << t.written << " written, " << t.deltas << " deltas, " << t.prepares
       << " prepares";
}

// One file beside its bytes.
class Rows {
 public:
  explicit Rows(Shape shape, std::uint64_t seed = 1) : cluster(shape, seed) {
    mount = cluster.mount();
    inode = cluster.create(*mount, "a");
  }
  ~Rows() {
    mount->release(inode, OpenMode::kWrite);
    cluster.unmount(std::move(mount));
  }

  void remount(std::function<void(Options&)> change = nullptr) {
    mount->release(inode, OpenMode::kWrite);
    cluster.unmount(std::move(mount));
    mount = cluster.mount(std::move(change));
    ASSERT_TRUE(cluster.run(mount->open(inode, OpenMode::kWrite)).has_value());
  }
  void write(std::uint64_t at, const std::vector<std::byte>& bytes) {
    const Status written = cluster.run(mount->write(inode, FileOffset(at), bytes, false));
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
    if (truth.size() < at + bytes.size()) truth.resize(at + bytes.size());
    std::copy(bytes.begin(), bytes.end(), truth.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void fsync() {
    const Status synced = cluster.run(mount->fsync(inode));
    ASSERT_TRUE(synced.has_value()) << synced.error().to_string();
  }
  void truncate(std::uint64_t size) {
    pb::SetAttr change;
    change.set_size(size);
    const Result<pb::Attributes> cut = cluster.run(mount->set_attributes(inode, change));
    ASSERT_TRUE(cut.has_value()) << cut.error().to_string();
    truth.resize(size);
  }
  void check() {
    const Result<std::vector<Buffer>> got =
        cluster.run(mount->read(inode, FileOffset(0), truth.size() + 1));
    ASSERT_TRUE(got.has_value()) << got.error().to_string();
    ASSERT_TRUE(joined(*got) == truth);
  }
  Traffic traffic() {
    Traffic now;
    for (const auto& cs : cluster.cs) {
      now.read += cs->read_blocks;
      now.written += cs->written_blocks;
      now.deltas += cs->delta_blocks;
      now.prepares += cs->prepares;
    }
    const Traffic since{now.read - last_.read, now.written - last_.written,
                        now.deltas - last_.deltas, now.prepares - last_.prepares};
    last_ = now;
    return since;
  }
  Traffic rewrite(std::uint64_t at, std::size_t length) {
    traffic();
    write(at, pattern(++seed_, length));
    fsync();
    return traffic();
  }
  // The chunk server of a piece of the first chunk.
  FakeCs& holder(unsigned piece) {
    const pb::Chunk& chunk = cluster.master->nodes.at(inode.raw()).chunks.at(0);
    return *cluster.cs[chunk.pieces(static_cast<int>(piece)).cs_id() - 1025];
  }
  // All chunk servers are back, and what is missing is repaired.
  void repair() {
    for (const auto& cs : cluster.cs) {
      if (cs->dead) cs->revive();
    }
    // A mount that could not connect a moment ago takes a server for dead until it tries again.
    cluster.world.run_for(5s);
    for (const auto& [index, chunk] : cluster.master->nodes.at(inode.raw()).chunks) {
      for (const pb::Piece& piece : chunk.pieces()) {
        if (piece.state() != pb::PIECE_MISSING) continue;
        ASSERT_TRUE(cluster.run(cluster.repair(inode, index, piece.index())));
      }
    }
  }
  // Chunk servers of one chunk at most that are away, or whose piece is missing.
  unsigned losses() const {
    const auto is_dead = [](const auto& cs) { return cs->dead; };
    auto most = static_cast<unsigned>(std::ranges::count_if(cluster.cs, is_dead));
    for (const auto& [index, chunk] : cluster.master->nodes.at(inode.raw()).chunks) {
      unsigned lost = 0;
      for (const pb::Piece& piece : chunk.pieces()) {
        const bool dead = cluster.cs[piece.cs_id() - 1025]->dead;
        if (dead || piece.state() == pb::PIECE_MISSING) ++lost;
      }
      most = std::max(most, lost);
    }
    return most;
  }
  // Every row of every chunk gives the file's bytes, by each choice of M pieces that are not
  // missing. Everything is written and synced.
  void check_rows() const;

  FakeCluster cluster;
  std::unique_ptr<FileSystem> mount;
  InodeId inode;
  std::vector<std::byte> truth;

 private:
  Block expected(std::uint64_t chunk, unsigned piece, std::uint64_t block) const {
    const Shape& shape = cluster.shape;
    const std::uint64_t rows = shape.cell_bytes / kBlockBytes;
    const std::uint64_t at =
        chunk * shape.data * shape.piece_bytes +
        ((block / rows * shape.data + piece) * rows + block % rows) * kBlockBytes;
    Block bytes{};
    if (at < truth.size()) {
      std::memcpy(bytes.data(), truth.data() + at,
                  std::min<std::size_t>(kBlockBytes, truth.size() - at));
    }
    return bytes;
  }
  void check_chunk(const pb::Chunk& chunk) const;

  Traffic last_;
  std::uint64_t seed_ = 1000;
};

void Rows::check_rows() const {
  for (const auto& [index, chunk] : cluster.master->nodes.at(inode.raw()).chunks) {
    SCOPED_TRACE("chunk " + std::to_string(index));
    check_chunk(chunk);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

void Rows::check_chunk(const pb::Chunk& chunk) const {
  const Shape& shape = cluster.shape;
  const unsigned pieces = shape.data + shape.parity;
  const auto codec = erasure::Codec::get(shape.data, shape.parity);
  std::vector<const std::map<std::uint64_t, Block>*> held(pieces, nullptr);
  erasure::PieceMask present = 0;
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() == pb::PIECE_MISSING) continue;
    present |= erasure::PieceMask{1} << piece.index();
    if (piece.state() == pb::PIECE_UNWRITTEN) continue;
    held[piece.index()] =
        &cluster.cs[piece.cs_id() - 1025]->pieces.at({chunk.id(), piece.index()}).blocks;
  }
  for (std::uint64_t block = 0; block < shape.piece_bytes / kBlockBytes; ++block) {
    std::vector<Block> row(pieces);
    for (unsigned i = 0; i < pieces; ++i) {
      if (held[i] != nullptr && held[i]->contains(block)) row[i] = held[i]->at(block);
    }
    for (erasure::PieceMask have = present; have != 0; have = (have - 1) & present) {
      if (static_cast<unsigned>(std::popcount(have)) != shape.data) continue;
      std::vector<Block> decoded = row;
      std::vector<std::byte*> at;
      for (unsigned i = 0; i < pieces; ++i) {
        if ((have >> i & 1U) == 0) decoded[i].fill(std::byte{0xee});
        at.push_back(decoded[i].data());
      }
      const erasure::PieceMask data = (erasure::PieceMask{1} << shape.data) - 1;
      ASSERT_TRUE(codec->rebuild(have, data & ~have, at, kBlockBytes).has_value());
      for (unsigned i = 0; i < shape.data; ++i) {
        ASSERT_TRUE(decoded[i] == expected(chunk.index(), i, block))
            << "block " << block << " of piece " << i << " from pieces " << have;
      }
    }
  }
}

TEST(RowTraffic, OneBlockOfAColdFileReadsOneAndSendsThree) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 1'000'000));
  file.fsync();
  file.remount();
  EXPECT_EQ(file.rewrite(40'960, 4096),
            (Traffic{.read = 1, .written = 1, .deltas = 2, .prepares = 3}));
  // Now its bytes are here.
  EXPECT_EQ(file.rewrite(40'960, 4096),
            (Traffic{.read = 0, .written = 1, .deltas = 2, .prepares = 3}));
  // A part of a cold block: what completes it is what the delta needs.
  EXPECT_EQ(file.rewrite(100'000, 1'000),
            (Traffic{.read = 1, .written = 1, .deltas = 2, .prepares = 3}));
  // Two of four: the other two would be as much to read, and new parity needs no folding.
  file.remount();
  file.traffic();
  file.write(8'192, pattern(2, 4'096));
  file.write(65'536 + 8'192, pattern(3, 4'096));
  file.fsync();
  EXPECT_EQ(file.traffic(), (Traffic{.read = 2, .written = 4, .deltas = 0, .prepares = 4}));
  file.check_rows();
  file.check();
}

TEST(RowTraffic, AWholeStripeReadsNothing) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 1'000'000));
  file.fsync();
  file.remount();
  // Stripe 1: 16 rows.
  EXPECT_EQ(file.rewrite(262'144, 262'144),
            (Traffic{.read = 0, .written = 96, .deltas = 0, .prepares = 6}));
  file.check_rows();
}

TEST(RowTraffic, RowsOfOneOpAreDoneInDifferentWays) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 1'000'000));
  file.fsync();
  file.remount();
  file.traffic();
  constexpr std::uint64_t kCell = 65'536;
  file.write(4'096, pattern(2, 4'096));   // a delta
  file.write(12'288, pattern(3, 4'096));  // anew, with two more of its row
  file.write(kCell + 12'288, pattern(4, 4'096));
  file.write(2 * kCell + 12'288, pattern(5, 4'096));
  file.write(2 * kCell + 16'384, pattern(6, 12'288));  // deltas again
  file.fsync();
  EXPECT_EQ(file.traffic(),
            (Traffic{.read = 1 + 1 + 3, .written = 1 + 3 + 2 + 3, .deltas = 2 + 6, .prepares = 5}));
  file.check_rows();
  file.check();
}

// Whole segments of clean blocks give way to the write that needs one of them.
TEST(RowTraffic, ATinyCacheNeitherLosesNorLoopsOnEdges) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 1'000'000));
  file.fsync();
  file.remount([](Options& options) {
    options.cache_bytes = 3 * kSegmentBytes;
    options.dirty_bytes_per_file = 256_KiB;
  });
  Prng prng(5);
  for (int i = 0; i < 200; ++i) {
    // Over the end of a segment, both blocks in part.
    const std::uint64_t at = (1 + prng.below(14)) * kSegmentBytes - 1'000;
    file.write(at, pattern(prng.next(), 2'000));
    if (i % 7 == 0) file.fsync();
    if (HasFatalFailure()) return;
  }
  file.fsync();
  file.check_rows();
  file.check();
}

TEST(RowTraffic, AppendingReadsNothing) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 65'536 + 4'096));
  file.fsync();
  file.remount();
  // Piece 0 of the row is cold, but what the block was is certain: nothing.
  const Traffic traffic = file.rewrite(65'536 + 4'096, 4'096);
  EXPECT_EQ(traffic.read, 0U);
  EXPECT_EQ(traffic.written + traffic.deltas, 3U);
  file.check_rows();
}

TEST(RowTraffic, WhatIsUnderWayIsTheOldOfWhatIsWrittenMeanwhile) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 500'000));
  file.fsync();
  file.remount();
  file.holder(4).delay = 300ms;
  file.write(0, pattern(2, 4'096));
  std::optional<Status> first;
  const std::uint64_t before = file.holder(0).prepares;
  file.cluster.start(file.mount->fsync(file.inode), &first);
  ASSERT_TRUE(file.cluster.world.run_until([&] { return file.holder(0).prepares > before; }, 10s));
  EXPECT_EQ(file.traffic().read, 1U);
  file.write(0, pattern(3, 4'096));
  ASSERT_FALSE(first.has_value()) << "one parity piece has not answered: the op is under way";
  file.fsync();
  ASSERT_TRUE(first.has_value() && first->has_value());
  EXPECT_EQ(file.traffic().read, 0U);
  file.holder(4).delay = Duration();
  file.check_rows();
}

TEST(RowTraffic, ABlockOfAMissingPieceLivesInParity) {
  Rows file(kSmallCells);
  file.write(0, pattern(1, 400'000));
  file.fsync();
  file.holder(0).kill();
  file.write(0, pattern(2, 4'096));  // the piece is dropped
  file.fsync();
  file.remount();
  // Its old bytes cannot be read: the others of the row can.
  EXPECT_EQ(file.rewrite(4'096, 4'096),
            (Traffic{.read = 3, .written = 2, .deltas = 0, .prepares = 2}));
  file.holder(1).kill();
  file.write(20'480, pattern(3, 4'096));
  file.fsync();
  file.remount();
  // Nor can those of a second one: M blocks, decoded.
  EXPECT_EQ(file.rewrite(8'192, 4'096),
            (Traffic{.read = 4, .written = 2, .deltas = 0, .prepares = 2}));
  // A piece that is there: its old bytes do.
  EXPECT_EQ(file.rewrite(40'960 + 12'288, 4'096),
            (Traffic{.read = 1, .written = 1, .deltas = 2, .prepares = 3}));
  file.check_rows();
  file.check();
}

TEST(RowTraffic, AParityPieceThatDoesNotAnswerIsReadAround) {
  Rows file(kFiveThree);
  file.write(0, pattern(1, 300'000));
  file.fsync();
  file.holder(0).kill();
  file.holder(1).kill();
  file.write(0, pattern(2, 4'096));
  file.write(8'192, pattern(3, 4'096));
  file.fsync();
  file.remount();
  // Asked for twice in vain; what else was read is kept, and one more piece is enough.
  file.holder(5).rot_reads = 100;
  EXPECT_EQ(file.rewrite(4'096, 4'096),
            (Traffic{.read = 4 + 2 + 1, .written = 3, .deltas = 0, .prepares = 3}));
  file.holder(5).rot_reads = 0;
  file.check_rows();
  file.check();
}

TEST(RowTraffic, AWriteThatCannotBeCompletedWaitsForPiecesToComeBack) {
  Rows file(kFiveThree);
  file.write(0, pattern(1, 300'000));
  file.fsync();
  for (unsigned piece = 0; piece < 3; ++piece) file.holder(piece).kill();
  file.write(0, pattern(2, 4'096));
  file.write(8'192, pattern(3, 4'096));
  file.write(16'384, pattern(4, 4'096));
  file.fsync();
  file.remount();
  // Five of eight are left, and one of them is silent now: no row can be decoded.
  file.holder(6).kill();
  file.write(4'096, pattern(5, 4'096));
  std::optional<Status> synced;
  file.cluster.start(file.mount->fsync(file.inode), &synced);
  file.cluster.world.run_for(30s);
  EXPECT_FALSE(synced.has_value()) << "a hard mount waits";
  file.holder(6).revive();
  ASSERT_TRUE(file.cluster.world.run_until([&] { return synced.has_value(); }, 60s));
  ASSERT_TRUE(synced->has_value()) << synced->error().to_string();
  file.check_rows();
  file.check();
}

TEST(RowTraffic, ASmallFileIsOneQuestionToTheMasterAndThreePieces) {
  Rows file(kFourTwo);
  file.write(0, pattern(1, 4'096));
  file.fsync();
  const InodeId second = file.cluster.create(*file.mount, "b");
  file.traffic();
  const std::uint64_t executed = file.cluster.master->executed;
  const std::vector<std::byte> bytes = pattern(2, 4'096);
  ASSERT_TRUE(file.cluster.run(file.mount->write(second, FileOffset(0), bytes, false)).has_value());
  ASSERT_TRUE(file.cluster.run(file.mount->fsync(second)).has_value());
  EXPECT_EQ(file.cluster.master->executed, executed + 2) << "OpenChunk, and CommitFile of fsync";
  EXPECT_EQ(file.traffic(), (Traffic{.read = 0, .written = 3, .deltas = 0, .prepares = 3}));
  const pb::Chunk& chunk = file.cluster.master->nodes.at(second.raw()).chunks.at(0);
  for (const pb::Piece& piece : chunk.pieces()) {
    const bool needed = piece.index() == 0 || piece.index() >= 4;
    EXPECT_EQ(piece.state() == pb::PIECE_CURRENT, needed) << piece.index();
    const FakeCs& cs = *file.cluster.cs[piece.cs_id() - 1025];
    EXPECT_EQ(cs.pieces.contains({chunk.id(), piece.index()}), needed) << piece.index();
  }
  file.mount->release(second, OpenMode::kWrite);
}

class RandomRows : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, RandomRows,
                         ::testing::Values(kFourTwo, kSmallCells, kThreeOne, kTwoOne, kFiveThree));

// Writes of all sizes, cold and warm, with more of them while old ones are under way, truncations,
// and chunk servers that are lost on the way and come back.
void run_program(Shape shape, std::uint64_t seed, Traffic* total) {
  Rows file(shape, seed);
  Prng prng(seed * 77);
  constexpr std::uint64_t kFile = 900'000;
  const unsigned losses = shape.parity - (shape.min - shape.data);
  file.write(0, pattern(seed, kFile / 2));
  for (int step = 0; step < 150; ++step) {
    const std::uint64_t kind = prng.below(24);
    const std::uint64_t at = prng.below(kFile);
    if (kind < 10) {
      const std::uint64_t length = prng.chance(400) ? 4'096 : 1 + prng.below(12'000);
      file.write(prng.chance(500) ? align_down(at, kBlockBytes) : at, pattern(prng.next(), length));
    } else if (kind < 11) {
      file.write(at, pattern(prng.next(), 1 + prng.below(200'000)));
    } else if (kind < 15) {
      for (const auto& cs : file.cluster.cs) cs->delay = prng.below(3) * 10ms;
      std::optional<Status> synced;
      file.cluster.start(file.mount->fsync(file.inode), &synced);
      while (!synced.has_value()) {
        file.cluster.world.run_for(5ms);
        const std::uint64_t near = at + prng.below(60'000);
        if (prng.chance(500)) file.write(near, pattern(prng.next(), 1 + prng.below(6'000)));
      }
      ASSERT_TRUE(synced->has_value()) << synced->error().to_string();
      for (const auto& cs : file.cluster.cs) cs->delay = Duration();
    } else if (kind < 17) {
      file.fsync();
      file.check_rows();
    } else if (kind < 18) {
      file.truncate(prng.chance(300) ? at : std::min<std::uint64_t>(at, file.truth.size()));
    } else if (kind < 20) {
      file.remount([&](Options& options) {
        options.cache_bytes = prng.chance(500) ? 512_KiB : 8_MiB;
        options.dirty_bytes_per_file = 256_KiB;
      });
    } else if (kind < 21) {
      file.check();
    } else if (kind < 22 && file.losses() < losses && prng.chance(200)) {
      file.cluster.cs[prng.below(file.cluster.cs.size())]->kill();
    } else if (kind < 23 && prng.chance(300)) {
      file.repair();
    } else {
      file.cluster.world.run_for(std::chrono::milliseconds(prng.below(2'000)));
    }
    if (::testing::Test::HasFatalFailure()) return;
  }
  file.fsync();
  file.check_rows();
  file.check();
  const Traffic traffic = file.traffic();
  total->read += traffic.read;
  total->deltas += traffic.deltas;
  total->written += traffic.written;
}

TEST_P(RandomRows, DecodeToTheFilesBytesThroughEveryChoiceOfPieces) {
  Traffic total;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    run_program(GetParam(), seed, &total);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(total.read, 0U);
  EXPECT_GT(total.deltas, 0U);
}

}  // namespace
}  // namespace cairn::client
