// PieceStore under calls that run beside each other.
#include "chunkserver/store/store_fixture.h"

namespace cairn::chunkserver::store {
namespace {

Task<void> overwrite(PieceStore* store, std::uint64_t rounds, std::uint64_t* done) {
  for (std::uint64_t seq = 1; seq <= rounds; ++seq) {
    std::vector<std::uint64_t> values(16, seq);
    testing::MadePrepare made =
        make_prepare(piece_id(1), 1, op_id(1, seq), {{0, 16}}, std::move(values));
    made.request.settled_below = OpSeq(seq);
    PrepareRequest request = std::move(made.request);
    const Status status = co_await store->prepare(std::move(request), std::move(made.body));
    EXPECT_TRUE(status.has_value());
    if (!status.has_value()) *done = rounds;  // the readers shall end, too
    if (!status.has_value()) co_return;
    ++*done;
  }
}
Task<void> read_on(runtime::Runtime* runtime, PieceStore* store, const std::uint64_t* done,
                   std::uint64_t rounds, std::uint64_t* checked) {
  std::uint64_t last = 0;
  while (*done < rounds) {
    co_await yield_turn(*runtime);
    std::vector<BlockRange> ranges{{0, 16}};
    const std::uint64_t acknowledged = *done;
    const Result<ReadAnswer> answer = co_await store->read(piece_id(1), std::move(ranges));
    if (!answer.has_value() || answer->present.empty()) {
      EXPECT_EQ(acknowledged, 0U);
      continue;
    }
    // Every read sees one whole op, never an older one than was acknowledged.
    const std::optional<std::uint64_t> value =
        testing::value_of(answer->bytes.span().first(kBlockBytes));
    EXPECT_TRUE(value.has_value());
    for (std::size_t i = 1; i < 16; ++i) {
      EXPECT_EQ(testing::value_of(answer->bytes.span().subspan(i * kBlockBytes, kBlockBytes)),
                value);
    }
    EXPECT_GE(value.value_or(0), std::max(acknowledged, last));
    last = value.value_or(0);
    ++*checked;
  }
}
Task<void> overwrite_and_read(runtime::Runtime* runtime, PieceStore* store,
                              std::uint64_t* checked) {
  constexpr std::uint64_t kRounds = 500;
  std::uint64_t done = 0;
  runtime::TaskGroup group(*runtime);
  group.spawn(overwrite(store, kRounds, &done));
  for (int i = 0; i < 4; ++i) group.spawn(read_on(runtime, store, &done, kRounds, checked));
  co_await group.join();
}

void run_overwrites(StoreWorld::Options options) {
  // Room for a few ops only: freed blocks are used again at once.
  options.disk_bytes = 8_MiB;
  options.grow_bytes = 64_KiB;
  options.size_bytes = (kReservedBlocks + 64 + 56) * kBlockBytes * 16 / 15;
  options.journal_bytes = 64 * kBlockBytes;
  StoreWorld world(std::move(options));
  ASSERT_TRUE(world.open().has_value());
  std::uint64_t checked = 0;
  world.loop().run(overwrite_and_read(&world.loop(), &world.store(), &checked));
  EXPECT_GT(checked, 500U);
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStoreLoad, ReadsBesideDirectOverwritesOnANearlyFullDiskSeeWholeOps) {
  run_overwrites({.tune = [](StoreOptions* options) { options->journal_write_max = 0; }});
}

TEST(PieceStoreLoad, ReadsBesideJournaledOverwritesOnANearlyFullDiskSeeWholeOps) {
  run_overwrites({});
  run_overwrites({.tune = [](StoreOptions* options) {
    options->keep_bytes = 0;  // every read of the newest goes to the ring
    options->home_delay = Duration{};
  }});
}

TEST(PieceStoreLoad, AFullJournalWaitsForACheckpointAndGoesOn) {
  StoreWorld world({});
  world.kv().set_self_flush_per_mille(0);
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t flushes = world.kv().flushes();
  for (std::uint64_t seq = 1; seq <= 200; ++seq) {
    ASSERT_TRUE(write(world, seq, {{seq, 1}}, {seq}).has_value());
    EXPECT_LE(world.store().statistics().journal_used_bytes, 32 * kBlockBytes);
  }
  EXPECT_GT(world.kv().flushes(), flushes + 5);
  world.crash(1);
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(view(world, piece_id(1), 1, 200).size(), 200U);
}

Task<void> prepare_many(runtime::Runtime* runtime, PieceStore* store, std::uint64_t count,
                        std::uint64_t blocks) {
  struct One {
    static Task<void> run(PieceStore* to, std::uint64_t seq, std::uint64_t blocks) {
      std::vector<std::uint64_t> values(blocks, seq);
      testing::MadePrepare made =
          make_prepare(piece_id(1), 1, op_id(1, seq), {{seq * blocks, blocks}}, std::move(values));
      PrepareRequest request = std::move(made.request);
      const Status status = co_await to->prepare(std::move(request), std::move(made.body));
      EXPECT_TRUE(status.has_value());
    }
  };
  runtime::TaskGroup group(*runtime);
  for (std::uint64_t seq = 1; seq <= count; ++seq) group.spawn(One::run(store, seq, blocks));
  co_await group.join();
}

TEST(PieceStoreLoad, ManyOpsShareOneFlush) {
  StoreWorld world({.journal_bytes = 4_MiB});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t flushes = world.disk().flushes();
  world.loop().run(prepare_many(&world.loop(), &world.store(), 200, 1));
  // The first op goes alone, all others collect meanwhile.
  EXPECT_LE(world.disk().flushes() - flushes, 3U);
}

TEST(PieceStoreLoad, LargeOpsShareTheirFlushesWhenTheRingIsElsewhere) {
  StoreWorld world({.journal_bytes = 4_MiB,
                    .tune = [](StoreOptions* options) { options->journal_directory = "/ssd"; }});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t flushes = world.disk().flushes();
  world.loop().run(prepare_many(&world.loop(), &world.store(), 40, 32));
  EXPECT_LE(world.disk().flushes() - flushes, 4U);
}

TEST(PieceStoreLoad, ARingThatIsSmallerThanAnOpDoesNotStopIt) {
  for (const char* directory : {"", "/ssd"}) {
    StoreWorld world({.tune = [directory](StoreOptions* options) {
      options->journal_directory = directory;
      options->journal_write_max = 4_MiB;
    }});
    ASSERT_TRUE(world.open().has_value());
    std::vector<std::uint64_t> values(100, 7);
    ASSERT_TRUE(write(world, 1, {{0, 100}}, values).has_value());
    ASSERT_TRUE(add(world, 2, {{0, 100}}, values).has_value());
    // Many ranges: a record of several blocks.
    std::vector<BlockRange> scattered;
    for (std::uint64_t i = 0; i < 1000; ++i) scattered.push_back({1000 + 2 * i, 1});
    ASSERT_TRUE(write(world, 3, scattered, std::vector<std::uint64_t>(1000, 5)).has_value());
    settle(world, 4);
    rest(world);
    EXPECT_EQ(view(world, piece_id(1), 1000, 1000).size(), 500U);
    EXPECT_EQ(view(world, piece_id(1), 2000, 1000).size(), 500U);
    EXPECT_EQ(view(world, piece_id(1), 0, 100).at(50), 7U ^ 7U);
    EXPECT_TRUE(world.store().check_consistency().has_value());
  }
}

}  // namespace
}  // namespace cairn::chunkserver::store
