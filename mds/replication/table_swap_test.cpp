// The steps of a replacement, crashed at every pair of them.
#include "mds/replication/table_swap.h"

#include <fstream>

#include "mds/replication/snapshot_rules.h"
#include "mds/replication/vault_fixture.h"

namespace cairn::mds::replication {
namespace {

void put_file(const disk::Path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << content;
}

std::string content_of(const disk::Path& path) {
  Result<std::string> bytes = disk::read_whole(path, 100);
  return bytes.has_value() ? *bytes : "none";
}

SwapHook crash_at(int crash) {
  return [crash](int step) {
    return step == crash ? Status(fail(Code::kCancelled, "crash")) : Status();
  };
}

void lay_out(const disk::Path& root) {
  put_file(root / "db" / "rows", "old");
  put_file(root / "incoming" / "db" / "rows", "new");
  put_file(root / "incoming" / "manifest", "m");
}

TEST(TableSwap, AnySequenceOfTwoCrashesEndsWithOldOrNewTables) {
  for (int first = 1; first <= kSwapSteps; ++first) {
    for (int second = 2; second <= kSwapSteps; ++second) {  // 2: none
      const TemporaryDirectory directory;
      const disk::Path root = directory.path();
      lay_out(root);
      Status status = begin_swap(root, crash_at(first));
      const bool begun = status.has_value();
      if (begun) status = finish_swap(root, crash_at(first));
      if (status.has_value()) status = drop_old_tables(root, crash_at(first));
      ASSERT_FALSE(status.has_value());
      // The next life crashes too, perhaps; the one after does not.
      const SwapHook hook = crash_at(second);
      if (finish_swap(root, hook).has_value()) {
        ignore(drop_old_tables(root, hook), "it may crash");
      }
      ASSERT_TRUE(finish_swap(root, {}).has_value());
      ASSERT_TRUE(drop_old_tables(root, {}).has_value());
      EXPECT_EQ(content_of(root / "db" / "rows"), begun ? "new" : "old") << first << second;
      EXPECT_FALSE(disk::exists(root / "db.old")) << first << second;
      EXPECT_EQ(disk::exists(root / "incoming" / "manifest"), !begun) << first << second;
    }
  }
}

TEST(TableSwap, AVeryFirstInstallNeedsNoOldTables) {
  const TemporaryDirectory directory;
  lay_out(directory.path());
  std::filesystem::remove_all(directory.path() / "db");
  ASSERT_TRUE(begin_swap(directory.path(), {}).has_value());
  ASSERT_TRUE(finish_swap(directory.path(), {}).has_value());
  EXPECT_EQ(content_of(directory.path() / "db" / "rows"), "new");
}

TEST(TableSwap, WithoutANewOneTheOldTablesComeBack) {
  const TemporaryDirectory directory;
  put_file(directory.path() / "db.old" / "rows", "old");
  ASSERT_TRUE(finish_swap(directory.path(), {}).has_value());
  EXPECT_EQ(content_of(directory.path() / "db" / "rows"), "old");
}

TEST(TableSwap, TablesThatAreNowhereAreSaidSo) {
  const TemporaryDirectory directory;
  put_file(directory.path() / "incoming" / "install", "");
  EXPECT_EQ(finish_swap(directory.path(), {}).error().code(), Code::kCorrupt);
}

TEST(SnapshotRules, OnlyNamesThatRocksdbGivesAreTaken) {
  for (const char* good : {"CURRENT", "MANIFEST-000005", "OPTIONS-000007", "000012.sst", "3.log"}) {
    EXPECT_TRUE(is_table_file(good)) << good;
  }
  for (const char* bad :
       {"", ".", "..", "/", "../000012.sst", "a/000012.sst", "000012.sst/", ".sst", "-1.sst",
        "12.sst ", "CURRENT.bak", "current", "LOCK", "IDENTITY", "LOG", "MANIFEST-", "MANIFEST-5a",
        "OPTIONS-", "000000000000000000001.sst"}) {
    EXPECT_FALSE(is_table_file(bad)) << bad;
  }
  EXPECT_FALSE(is_table_file(std::string_view("12\0.sst", 7)));
}

TEST(SnapshotRules, ImpossibleSnapshotsAreRefused) {
  const Snapshot good{.id = 1,
                      .applied = Slot(3),
                      .membership = "m",
                      .files = {{.name = "CURRENT", .bytes = 16, .crc32c = 1},
                                {.name = "000004.sst", .bytes = 0, .crc32c = 0}}};
  ASSERT_TRUE(check_snapshot(good).has_value());
  EXPECT_EQ(*decode_snapshot(encode_snapshot(good)), good);
  EXPECT_EQ(total_bytes(good), 16U);
  const auto refused = [](const Snapshot& snapshot) {
    return !check_snapshot(snapshot).has_value() &&
           !decode_snapshot(encode_snapshot(snapshot)).has_value();
  };
  Snapshot bad = good;
  bad.id = 0;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.files.clear();
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.files[1].name = "CURRENT";
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.files[1].bytes = UINT64_MAX;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.membership.assign(1 << 20, 'm');
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.files.assign(kSnapshotFilesMax + 1, good.files[0]);
  EXPECT_TRUE(refused(bad));
}

}  // namespace
}  // namespace cairn::mds::replication
