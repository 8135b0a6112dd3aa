// What the chunk servers are told of writes that cover blocks only in part (columns RMW and JRMW).
#include <gtest/gtest.h>

#include <vector>

#include "client/core/file_cache.h"
#include "client/core/testing/fake_cluster.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::Shape;

constexpr Shape kFourTwo{};
constexpr Shape kThreeCopies{.data = 1, .parity = 2, .min = 2};

TEST(FileCache, TellsWhichBlocksWereWrittenOverInPart) {
  CachePool pool(1_MiB);
  FileCache cache(pool);
  struct Row {
    std::uint64_t at;
    std::uint64_t length;
    ByteCount older_end;
    std::vector<std::uint64_t> partly;
  };
  const std::vector<Row> rows = {
      {0, 4096, 40'960, {}},        {1024, 1024, 40'960, {0}},
      {1024, 4096, 40'960, {0, 1}}, {0, 1024, 40'960, {0}},
      {8191, 2, 40'960, {1, 2}},    {4096, 10'000, 40'960, {3}},
      {0, 10'000, 0, {}},            // a new file
      {0, 10'000, 10'000, {}},       // the same bytes again: nothing older stays
      {0, 9'999, 10'000, {2}},       // one byte does
      {10'000, 5'000, 10'000, {2}},  // appended
      {12'288, 5'000, 12'288, {}},  {65'000, 1'000, 1'000'000, {15, 16}},  // over two segments
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::to_string(row.at) + " + " + std::to_string(row.length));
    cache.drop_all();
    const std::vector<std::byte> bytes(row.length, std::byte{1});
    for (const std::uint64_t block : cache.unknown_edges(FileOffset(row.at), row.length)) {
      cache.fill(block, Bytes());
    }
    cache.write(FileOffset(row.at), bytes, Instant(), row.older_end);
    cache.check_invariants();
    std::vector<std::uint64_t> partly;
    std::vector<FileRun> claimed;
    for (const FileRun& run : cache.dirty_runs(0, 1000)) {
      for (std::uint64_t block = run.first; block < run.first + run.count; ++block) {
        bool part = false;
        static_cast<void>(cache.claim(block, 1, &part));
        claimed.push_back({block, 1});
        if (part) partly.push_back(block);
      }
    }
    EXPECT_EQ(partly, row.partly);
    for (const FileRun& run : claimed) cache.done(run);
    cache.check_invariants();
  }
}

TEST(FileCache, ABlockWrittenFromEndToEndIsPartlyWrittenNoMore) {
  CachePool pool(1_MiB);
  FileCache cache(pool);
  const std::vector<std::byte> block(kBlockBytes, std::byte{1});
  const std::vector<std::byte> some(1024, std::byte{2});
  cache.fill(0, block);
  cache.write(FileOffset(1024), some, Instant(), 40'960);
  cache.write(FileOffset(0), block, Instant(), 40'960);
  bool partly = false;
  static_cast<void>(cache.claim(0, 1, &partly));
  EXPECT_FALSE(partly);
  // And one written in part while an older write-back of it is under way is again.
  cache.write(FileOffset(1024), some, Instant(), 40'960);
  cache.done({0, 1});
  static_cast<void>(cache.claim(0, 1, &partly));
  EXPECT_TRUE(partly);
  cache.done({0, 1});
}

struct Counted {
  std::uint64_t prepares = 0;
  std::vector<std::uint64_t> unaligned;  // by chunk server
};

Counted count(const FakeCluster& cluster) {
  Counted counted;
  for (const auto& cs : cluster.cs) {
    counted.prepares += cs->prepares;
    counted.unaligned.push_back(cs->unaligned);
  }
  return counted;
}

void write(FakeCluster& cluster, FileSystem& mount, InodeId inode, std::uint64_t at,
           std::size_t length) {
  const std::vector<std::byte> bytes(length, std::byte{7});
  ASSERT_TRUE(cluster.run(mount.write(inode, FileOffset(at), bytes, false)).has_value());
  ASSERT_TRUE(cluster.run(mount.fsync(inode)).has_value());
}

TEST(Unaligned, WritesAtOneKilobyteAreCountedExactly) {
  FakeCluster cluster(kThreeCopies);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  write(cluster, *mount, inode, 0, 500'000);
  using Each = std::vector<std::uint64_t>;
  EXPECT_EQ(count(cluster).unaligned, (Each{0, 0, 0})) << "a new file, whatever its size";
  for (std::uint64_t i = 0; i < 20; ++i) write(cluster, *mount, inode, i * 8192 + 1024, 1024);
  EXPECT_EQ(count(cluster).unaligned, (Each{20, 20, 20})) << "each at each copy, once";
  for (std::uint64_t i = 0; i < 20; ++i) write(cluster, *mount, inode, i * 8192, 4096);
  EXPECT_EQ(count(cluster).unaligned, (Each{20, 20, 20})) << "whole blocks";
  for (std::uint64_t i = 0; i < 5; ++i) write(cluster, *mount, inode, i * 8192 + 1024, 4096);
  EXPECT_EQ(count(cluster).unaligned, (Each{25, 25, 25})) << "two blocks of one request";
  write(cluster, *mount, inode, 500'000, 1000);
  EXPECT_EQ(count(cluster).unaligned, (Each{26, 26, 26})) << "appended to a block with bytes";
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Unaligned, OnlyPiecesThatDependOnThePartlyWrittenBlockCount) {
  FakeCluster cluster(kFourTwo);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  write(cluster, *mount, inode, 0, 1'000'000);
  const Counted before = count(cluster);
  write(cluster, *mount, inode, 1024, 1024);
  const Counted after = count(cluster);
  EXPECT_EQ(after.prepares - before.prepares, 3U) << "one data piece, two of parity";
  std::uint64_t unaligned = 0;
  for (const std::uint64_t one : after.unaligned) unaligned += one;
  EXPECT_EQ(unaligned, 3U);
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

}  // namespace
}  // namespace cairn::client
