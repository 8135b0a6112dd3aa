#include "admin/hwflush/counter_file.h"

#include <gtest/gtest.h>

#include "admin/drive/testing/temp_directory.h"
#include "admin/hwflush/test_directory.h"

namespace cairn::admin::hwflush {
namespace {

constexpr DirectoryId kDirectory{1, 2};

class CounterFileTest : public testing::Test {
 protected:
  std::string path() const { return directory_ / "id0.counter"; }
  CounterFile open(std::uint64_t newest, ByteCount records = 4) const {
    Result<CounterFile> file = CounterFile::open({.path = path(),
                                                  .directory = kDirectory,
                                                  .thread = 0,
                                                  .size = records * kRecordBytes,
                                                  .mode = WriteMode::kFsync},
                                                 newest);
    EXPECT_TRUE(file.has_value()) << file.error().message();
    return std::move(*file);
  }
  std::uint64_t newest() const {
    return read_newest_counter(path(), kDirectory, 0).value_or(UINT64_MAX);
  }
  const TempDirectory directory_;
};

TEST_F(CounterFileTest, AFileThatIsNotThereHasNoCounter) { EXPECT_EQ(newest(), 0U); }

TEST_F(CounterFileTest, CountsFromOneAndMovesThroughTheFile) {
  CounterFile file = open(0);
  for (std::uint64_t wanted = 1; wanted <= 11; ++wanted) {
    ASSERT_EQ(file.next().value_or(0), wanted);
    ASSERT_EQ(newest(), wanted);
  }
  EXPECT_EQ(std::filesystem::file_size(path()), 4 * kRecordBytes);
}

TEST_F(CounterFileTest, GoesOnWhereItEnded) {
  {
    CounterFile file = open(0);
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(file.next().has_value());
  }
  CounterFile again = open(newest(), 100);  // another size counts for new files only
  EXPECT_EQ(again.next().value_or(0), 7U);
  EXPECT_EQ(newest(), 7U);
  EXPECT_EQ(std::filesystem::file_size(path()), 4 * kRecordBytes);
}

TEST_F(CounterFileTest, AFileOfABadSizeIsMadeAnewWithItsNewestCounter) {
  {
    CounterFile file = open(0);
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(file.next().has_value());
  }
  std::filesystem::resize_file(path(), 3 * kRecordBytes + 17);
  ASSERT_EQ(newest(), 6U);
  CounterFile again = open(6);
  EXPECT_EQ(newest(), 6U);
  EXPECT_EQ(again.next().value_or(0), 7U);
  EXPECT_EQ(std::filesystem::file_size(path()), 4 * kRecordBytes);
}

TEST_F(CounterFileTest, AVanishedFileGoesOnAfterWhatIsKnown) {
  CounterFile file = open(41);
  EXPECT_EQ(newest(), 41U);
  EXPECT_EQ(file.next().value_or(0), 42U);
}

TEST(TestDirectory, LookingChangesNothing) {
  const TempDirectory directory;
  const auto looked = TestDirectory::look(directory / "new/test");
  ASSERT_TRUE(looked.has_value());
  EXPECT_TRUE(looked->id().empty());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(TestDirectory, KeepsItsIdAndCounters) {
  const TempDirectory directory;
  {
    auto looked = TestDirectory::look(directory / "test");
    ASSERT_TRUE(looked.has_value());
    ASSERT_TRUE(looked->begin({5, 6}).has_value());
    auto file = CounterFile::open({.path = looked->file_of(3),
                                   .directory = looked->id(),
                                   .thread = 3,
                                   .size = 2 * kRecordBytes,
                                   .mode = WriteMode::kFsync},
                                  0);
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file->next().has_value());
    // Two at once would take the counters from each other.
    EXPECT_EQ(TestDirectory::look(directory / "test").error().code(), Code::kBusy);
  }
  auto again = TestDirectory::look(directory / "test");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->id(), (DirectoryId{5, 6}));
  EXPECT_EQ(again->on_disk(), (Counters{{3, 1}}));
  EXPECT_EQ(again->counter_of(3), 1U);
  EXPECT_EQ(again->counter_of(4), 0U);
  ASSERT_TRUE(again->clear().has_value());
  ASSERT_TRUE(again->begin({7, 8}).has_value());
  EXPECT_EQ(directory.read("test/hwflush.id"), (DirectoryId{7, 8}).to_string() + "\n");
}

TEST(TestDirectory, AnIdFileWithoutSenseCountsAsNone) {
  const TempDirectory directory;
  for (const std::string& text : {std::string(), std::string("x\n"), std::string(33, '\0')}) {
    directory.write("hwflush.id", text);
    const auto looked = TestDirectory::look(directory.path());
    ASSERT_TRUE(looked.has_value());
    EXPECT_TRUE(looked->id().empty());
  }
}

}  // namespace
}  // namespace cairn::admin::hwflush
