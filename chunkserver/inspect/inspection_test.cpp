#include "chunkserver/inspect/inspection.h"

#include <fcntl.h>
#include <sys/file.h>

#include "chunkserver/inspect/repository_fixture.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::inspect {
namespace {

using testing::make_prepare;
using testing::op_id;
using testing::piece_id;

constexpr PieceId kPiece{ChunkId::from_raw(1), PieceIndex(0)};

std::unique_ptr<Inspection> look(const std::string& repository,
                                 std::vector<std::string> journals = {}, bool without = false) {
  Result<std::unique_ptr<Inspection>> opened =
      Inspection::open({.repository = repository,
                        .journal_directories = std::move(journals),
                        .without_journal = without});
  EXPECT_TRUE(opened.has_value()) << opened.error().to_string();
  return opened.has_value() ? std::move(*opened) : nullptr;
}

Error refusal(Options options) {
  const Result<std::unique_ptr<Inspection>> opened = Inspection::open(std::move(options));
  EXPECT_FALSE(opened.has_value());
  return opened.has_value() ? Error(Code::kInternal) : opened.error();
}

Status write(LiveStore& live, std::uint64_t seq, std::vector<store::BlockRange> blocks,
             std::vector<std::uint64_t> values) {
  return live.put(make_prepare(kPiece, 1, op_id(1, seq), std::move(blocks), std::move(values)));
}

std::uint32_t crc_of(std::uint64_t value) {
  Buffer block = Buffer::allocate(kBlockBytes);
  testing::fill_block(block.span(), value);
  return crc32c(block.span());
}

// A byte of a file is another one.
void flip(const std::string& path, std::uint64_t at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const auto byte = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
}

// Where the first layer of a block lies.
std::uint64_t home_of(Inspection& inspection, PieceId piece, std::uint64_t block) {
  const std::optional<store::PieceRow> row = inspection.row(piece).value();
  const auto segment = static_cast<std::uint32_t>(block / store::kSegmentBlocks);
  const std::vector<store::LocatedBlock> located = inspection.located(piece, *row, segment).value();
  for (const store::LocatedBlock& one : located) {
    if (one.block == block) return one.base.disk;
  }
  return 0;
}

TEST(Inspection, ShowsACleanStore) {
  const TemporaryDirectory temp;
  {
    LiveStore live(temp / "cs");
    ASSERT_TRUE(write(live, 1, {{0, 2}, {300, 1}}, {1, 2, 3}).has_value());
    live.settle(kPiece, op_id(1, 2));
    live.close();
  }
  const auto before = contents_of(temp.path());
  const std::unique_ptr<Inspection> inspection = look(temp / "cs");
  EXPECT_EQ(inspection->summary().counters.pieces, 1U);
  EXPECT_EQ(inspection->summary().counters.used_blocks, 3U);
  EXPECT_EQ(inspection->summary().batches, 0U);
  EXPECT_EQ(inspection->summary().homeless, 0U);
  EXPECT_EQ(inspection->summary().identity, identity_of(1025));
  EXPECT_EQ(shown(*inspection),
            (StoreContent{{kPiece, {{0, crc_of(1)}, {1, crc_of(2)}, {300, crc_of(3)}}}}));
  EXPECT_EQ(contents_of(temp.path()), before);
}

// A random step of a writer.
void step(LiveStore& live, Prng& prng, std::map<PieceId, std::uint64_t>* seqs) {
  const PieceId piece = piece_id(1 + prng.below(4), static_cast<std::uint8_t>(prng.below(2)));
  std::uint64_t& seq = (*seqs)[piece];
  const std::uint64_t first = 250 + prng.below(12);
  const auto values = [&](std::uint64_t count) {
    std::vector<std::uint64_t> drawn(count);
    for (std::uint64_t& value : drawn) value = prng.next() | 1;
    return drawn;
  };
  switch (prng.below(8)) {
    case 0:
    case 1:
    case 2:
      EXPECT_TRUE(
          live.put(make_prepare(piece, 1, op_id(1, ++seq), {{first, 3}}, values(3))).has_value());
      return;
    case 3:  // large enough to go straight home
      EXPECT_TRUE(
          live.put(make_prepare(piece, 1, op_id(1, ++seq), {{first, 20}}, values(20))).has_value());
      return;
    case 4: {
      testing::MadePrepare made = make_prepare(piece, 1, op_id(1, ++seq), {}, {});
      made.request.zeroes = {{first, 2}};
      EXPECT_TRUE(live.put(std::move(made)).has_value());
      return;
    }
    case 5:
      EXPECT_TRUE(live.put(make_prepare(piece, 1, op_id(1, ++seq), {}, values(2), {{first, 2}}))
                      .has_value());
      return;
    case 6:
      if (seq != 0) live.settle(piece, op_id(1, 1 + prng.below(seq + 1)));
      return;
    default:
      if (prng.chance(300)) live.checkpoint();
      if (prng.chance(100)) live.commit();
      return;
  }
}

TEST(Inspection, ShowsOfAKilledStoreWhatTheNextStartServes) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const TemporaryDirectory temp;
    Prng prng(seed);
    LiveOptions options;
    if (seed % 2 == 0) {
      options.journal_directory = temp / "ssd";
      // Room enough that the live store does not fold into it while it is looked at.
      options.journal_bytes = 2048 * kBlockBytes;
    }
    LiveStore live(temp / "cs", options);
    std::map<PieceId, std::uint64_t> seqs;
    for (int i = 0; i < 60; ++i) step(live, prng, &seqs);
    live.leave(temp / "dead");
    std::filesystem::create_directories(temp / "ssd");
    const auto before = contents_of(temp / "dead");
    const auto ring_before = contents_of(temp / "ssd");
    {
      const std::unique_ptr<Inspection> inspection = look(temp / "dead");
      std::uint64_t missing = 0;
      EXPECT_EQ(shown(*inspection, &missing), served(live)) << "seed " << seed;
      EXPECT_EQ(missing, 0U);
      std::uint64_t batches = 0;
      EXPECT_TRUE(inspection
                      ->for_each_batch([&](const store::Batch&) -> Status {
                        ++batches;
                        return {};
                      })
                      .has_value());
      EXPECT_GE(batches, inspection->summary().batches);
      EXPECT_EQ(contents_of(temp / "dead"), before) << "seed " << seed;
      EXPECT_EQ(contents_of(temp / "ssd"), ring_before) << "seed " << seed;
      if (seed % 2 == 0) continue;  // its journal is the live one's
      const StoreContent seen = shown(*inspection);
      copy_tree(temp / "dead", temp / "again");
      LiveStore restarted(temp / "again");
      EXPECT_EQ(served(restarted), seen) << "seed " << seed;
    }
  }
}

TEST(Inspection, ShowsUndecidedOpsAndDeltas) {
  const TemporaryDirectory temp;
  LiveStore live(temp / "cs");
  ASSERT_TRUE(write(live, 1, {{0, 1}}, {8}).has_value());
  ASSERT_TRUE(live.put(make_prepare(kPiece, 1, op_id(1, 2), {}, {5}, {{0, 1}})).has_value());
  live.settle(kPiece, op_id(1, 3));
  ASSERT_TRUE(live.put(make_prepare(kPiece, 1, op_id(1, 3), {}, {3}, {{0, 1}})).has_value());
  live.leave(temp / "dead");
  const std::unique_ptr<Inspection> inspection = look(temp / "dead");
  const store::PieceRow row = inspection->row(kPiece).value().value();
  ASSERT_EQ(row.pending.size(), 2U);
  EXPECT_TRUE(row.pending[0].decided);
  EXPECT_FALSE(row.pending[1].decided);
  const std::vector<store::LocatedBlock> located = inspection->located(kPiece, row, 0).value();
  ASSERT_EQ(located.size(), 1U);
  EXPECT_EQ(located[0].deltas.size(), 2U);
  EXPECT_EQ(shown(*inspection), (StoreContent{{kPiece, {{0, crc_of(8 ^ 5 ^ 3)}}}}));
  // As if the op had never been.
  store::PieceRow without = row;
  without.pending.pop_back();
  const PieceBlocks read = inspection->read(inspection->located(kPiece, without, 0).value());
  EXPECT_EQ(crc32c(read.bytes.span()), crc_of(8 ^ 5));
  EXPECT_EQ(inspection->summary().homeless, 3U);
}

TEST(Inspection, NamesADamagedBlockAndShowsTheOthers) {
  const TemporaryDirectory temp;
  {
    LiveStore live(temp / "cs");
    ASSERT_TRUE(write(live, 1, {{0, 3}}, {1, 2, 3}).has_value());
    live.close();
  }
  const std::uint64_t home = home_of(*look(temp / "cs"), kPiece, 1);
  ASSERT_NE(home, 0U);
  flip(temp / "cs/data", home * kBlockBytes + 77);
  const std::unique_ptr<Inspection> inspection = look(temp / "cs");
  const PieceBlocks read = inspection->read(
      inspection->located(kPiece, inspection->row(kPiece).value().value(), 0).value());
  ASSERT_EQ(read.missing.size(), 3U);
  EXPECT_EQ(read.missing[0], "");
  EXPECT_NE(read.missing[1].find("disk block " + std::to_string(home)), std::string::npos)
      << read.missing[1];
  EXPECT_EQ(read.missing[2], "");
  const Buffer zeros = Buffer::zeroed(kBlockBytes);
  EXPECT_EQ(crc32c(read.bytes.span().subspan(kBlockBytes, kBlockBytes)), crc32c(zeros.span()));
}

TEST(Inspection, FindsAJournalThatWasMovedAmongOthers) {
  const TemporaryDirectory temp;
  {
    LiveStore other(temp / "other", {.cs = 1026, .journal_directory = temp / "ssd2"});
    LiveStore live(temp / "cs", {.journal_directory = temp / "ssd"});
    ASSERT_TRUE(write(live, 1, {{0, 2}}, {1, 2}).has_value());
    live.leave(temp / "dead");
    std::filesystem::rename(temp / "ssd", temp / "moved");
  }
  const Error lost = refusal({.repository = temp / "dead"});
  EXPECT_EQ(lost.code(), Code::kJournalFailed) << lost.to_string();
  EXPECT_NE(lost.message().find(temp / "ssd"), std::string::npos) << lost.message();
  EXPECT_EQ(refusal({.repository = temp / "dead", .journal_directories = {temp / "ssd2"}}).code(),
            Code::kJournalFailed);
  const std::unique_ptr<Inspection> inspection =
      look(temp / "dead", {temp / "nowhere", temp / "ssd2", temp / "moved"});
  EXPECT_EQ(shown(*inspection), (StoreContent{{kPiece, {{0, crc_of(1)}, {1, crc_of(2)}}}}));
}

TEST(Inspection, WithoutItsJournalShowsTheRestAndNamesWhatIsMissing) {
  const TemporaryDirectory temp;
  {
    LiveStore live(temp / "cs", {.journal_directory = temp / "ssd"});
    ASSERT_TRUE(write(live, 1, {{0, 2}}, {1, 2}).has_value());
    live.commit();
    ASSERT_TRUE(write(live, 2, {{1, 1}}, {3}).has_value());
    ASSERT_TRUE(live.put(make_prepare(piece_id(2), 1, op_id(1, 1), {{0, 1}}, {4})).has_value());
    live.leave(temp / "dead");
    std::filesystem::remove_all(temp / "ssd");
  }
  const std::unique_ptr<Inspection> inspection = look(temp / "dead", {}, true);
  EXPECT_TRUE(inspection->summary().without_journal);
  // As of the checkpoint: block 1 as it was then, the second piece not at all.
  EXPECT_EQ(shown(*inspection), (StoreContent{{kPiece, {{0, crc_of(1)}, {1, crc_of(2)}}}}));
  EXPECT_TRUE(inspection->for_each_batch([](const store::Batch&) { return Status(); }).has_value());
}

TEST(Inspection, BlocksThatOnlyTheLostJournalHadAreMissing) {
  const TemporaryDirectory temp;
  {
    LiveStore live(temp / "cs");
    ASSERT_TRUE(write(live, 1, {{0, 2}}, {1, 2}).has_value());
    live.leave(temp / "dead");
  }
  {
    // A start makes the index know them before they are at home.
    LiveStore again(temp / "dead");
    again.leave(temp / "dead2");
  }
  std::uint64_t missing = 0;
  EXPECT_EQ(shown(*look(temp / "dead2", {}, true), &missing), (StoreContent{{kPiece, {}}}));
  EXPECT_EQ(missing, 2U);
  EXPECT_EQ(shown(*look(temp / "dead2")),
            (StoreContent{{kPiece, {{0, crc_of(1)}, {1, crc_of(2)}}}}));
}

TEST(Inspection, WithADamagedSuperblockTheIndexStillTellsWherePiecesLie) {
  const TemporaryDirectory temp;
  {
    LiveStore live(temp / "cs");
    ASSERT_TRUE(write(live, 1, {{0, 2}}, {1, 2}).has_value());
    live.close();
  }
  flip(temp / "cs/data", kBlockBytes + 20);  // of the slot of generation 1
  EXPECT_EQ(refusal({.repository = temp / "cs"}).code(), Code::kCorrupt);
  const std::unique_ptr<Inspection> inspection = look(temp / "cs", {}, true);
  EXPECT_FALSE(inspection->summary().superblock.has_value());
  EXPECT_EQ(shown(*inspection), (StoreContent{{kPiece, {{0, crc_of(1)}, {1, crc_of(2)}}}}));
}

TEST(Inspection, RefusesWhileADaemonHasTheRepository) {
  const TemporaryDirectory temp;
  {
    LiveStore live(temp / "cs");
    live.close();
  }
  const std::string path = temp / "cs/lock";
  std::ofstream(path) << "4711\n";
  const int lock = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  const Error busy = refusal({.repository = temp / "cs"});
  EXPECT_EQ(busy.code(), Code::kBusy);
  EXPECT_NE(busy.message().find("process 4711"), std::string::npos) << busy.message();
  ::flock(lock, LOCK_UN);
  {
    // And the other way round: no daemon starts while we look.
    const std::unique_ptr<Inspection> inspection = look(temp / "cs");
    EXPECT_NE(::flock(lock, LOCK_EX | LOCK_NB), 0);
    EXPECT_NE(look(temp / "cs"), nullptr);
  }
  EXPECT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  ::close(lock);
}

TEST(Inspection, RefusesWhatIsNoRepositoryOrHasLostItsParts) {
  const TemporaryDirectory temp;
  std::filesystem::create_directories(temp / "empty");
  EXPECT_EQ(refusal({.repository = temp / "nowhere"}).code(), Code::kNotFound);
  EXPECT_EQ(refusal({.repository = temp / "empty"}).code(), Code::kNotFound);
  ASSERT_TRUE(identity_of(1025).create(temp / "new").has_value());
  EXPECT_EQ(refusal({.repository = temp / "new"}).code(), Code::kNotFound);
  {
    LiveStore live(temp / "cs");
    ASSERT_TRUE(write(live, 1, {{0, 1}}, {1}).has_value());
    live.close();
  }
  std::filesystem::rename(temp / "cs/index", temp / "index");
  EXPECT_EQ(refusal({.repository = temp / "cs"}).code(), Code::kCorrupt);
  EXPECT_EQ(refusal({.repository = temp / "cs", .without_journal = true}).code(), Code::kCorrupt);
  EXPECT_FALSE(std::filesystem::exists(temp / "cs/index"));
  std::filesystem::rename(temp / "index", temp / "cs/index");
  std::filesystem::rename(temp / "cs/data", temp / "data");
  EXPECT_EQ(refusal({.repository = temp / "cs"}).code(), Code::kCorrupt);
  EXPECT_FALSE(std::filesystem::exists(temp / "cs/data"));
}

TEST(RunBlocking, TakesTasksThatWaitAndThoseThatDoNot) {
  struct Tasks {
    static Task<Result<int>> at_once() { co_return 1; }
    static Task<Result<int>> later(runtime::Runtime* runtime) {
      co_await runtime::sleep_for(*runtime, 1ms);
      co_return 2;
    }
  };
  runtime::AsioRuntime loop;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(runtime::run_blocking(loop, Tasks::at_once()).value(), 1);
    EXPECT_EQ(runtime::run_blocking(loop, Tasks::later(&loop)).value(), 2);
  }
}

}  // namespace
}  // namespace cairn::chunkserver::inspect
