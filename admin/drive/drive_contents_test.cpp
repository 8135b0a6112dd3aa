#include "admin/drive/drive_contents.h"

#include <gtest/gtest.h>

#include "admin/drive/fstab.h"
#include "admin/drive/fstab_file.h"
#include "admin/drive/journal_sizing.h"
#include "admin/drive/run_program.h"
#include "admin/drive/testing/temp_directory.h"

namespace cairn::admin {
namespace {

TEST(DriveContents, ReadsWhatBlkidExports) {
  auto found = parse_blkid("DEVNAME=/dev/sdb1\nLABEL=my\\ data\nUUID=1-2\nTYPE=ext4\nnonsense\n");
  EXPECT_EQ(found["LABEL"], "my data");
  EXPECT_EQ(found["TYPE"], "ext4");
  EXPECT_EQ(found["UUID"], "1-2");
  EXPECT_TRUE(parse_blkid("").empty());
}

TEST(DriveContents, ReadsWhatSfdiskDumps) {
  const auto entries = parse_partition_table(
      "label: gpt\ndevice: /dev/nvme0n1\nunit: sectors\nfirst-lba: 2048\nsector-size: 512\n\n"
      "/dev/nvme0n1p1 : start=        2048, size=      815104, type=0FC6, name=\"cairn-cs a\"\n"
      "/dev/nvme0n1p12 : start=      900000, size=          10, type=0FC6\n"
      "/dev/nvme0n1p3 : start=           0, size=           0, type=0\n");
  const std::vector<TableEntry> wanted = {
      {.number = 1, .start = 2048, .size = 815104, .name = "cairn-cs a"},
      {.number = 12, .start = 900000, .size = 10, .name = {}}};
  EXPECT_EQ(entries, wanted);
}

TEST(Fstab, LineIsTheGuides) {
  EXPECT_EQ(fstab_line("f3fbcbb8-4224", "/cairn/stor1-cs1"),
            "UUID=f3fbcbb8-4224 /cairn/stor1-cs1 ext4 defaults,nofail,lazytime,noatime 0 0");
}

TEST(Fstab, TakesTheFirstIndexThatIsNotUsed) {
  const std::string stem = mount_point_stem(kMountRoot, "stor1", false);
  EXPECT_EQ(first_unused_mount_point(stem, {}), "/cairn/stor1-cs1");
  EXPECT_EQ(first_unused_mount_point(stem, {"/cairn/stor1-cs1", "/cairn/stor1-cs3"}),
            "/cairn/stor1-cs2");
  EXPECT_EQ(first_unused_mount_point(mount_point_stem(kMountRoot, "stor1", true),
                                     {"/cairn/stor1-cs1", "/cairn/stor1-ssd1"}),
            "/cairn/stor1-ssd2");
}

TEST(Fstab, ReadsLinesAndLeavesCommentsOut) {
  const auto lines = parse_fstab("# /x /y\n\nUUID=1 / ext4 rw 0 1\n  /dev/sdb1\t/data/ xfs\nbad\n");
  EXPECT_EQ(lines, (std::vector<FstabLine>{{"UUID=1", "/"}, {"/dev/sdb1", "/data"}}));
}

TEST(Fstab, ALineIsAddedOnALineOfItsOwn) {
  EXPECT_EQ(with_line("", "a"), "a\n");
  EXPECT_EQ(with_line("x\n", "a"), "x\na\n");
  EXPECT_EQ(with_line("x", "a"), "x\na\n");
}

TEST(FstabFile, PlacesInTheTableAndFullDirectoriesAreUsed) {
  const TempDirectory directory;
  directory.write("fstab", "UUID=1 " + (directory / "s-cs1") + " ext4 defaults 0 0\n");
  directory.write("s-cs2/something", "x");
  std::filesystem::create_directory(directory / "s-cs3");
  EXPECT_EQ(next_mount_point(directory.path(), "s", false, directory / "fstab").value_or(""),
            directory / "s-cs3");
  EXPECT_EQ(next_mount_point(directory.path(), "s", true, directory / "none").value_or(""),
            directory / "s-ssd1");
}

TEST(FstabFile, APlaceThatIsInTheTableIsNotAddedAgain) {
  const TempDirectory directory;
  const std::string line = fstab_line("1-2", directory / "s-cs1");
  directory.write("fstab", line + "\n");
  const Status added = add_to_fstab(directory / "fstab", line);
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().code(), Code::kExists);
  EXPECT_EQ(directory.read("fstab"), line + "\n");
}

TEST(JournalSizing, ReproducesTheGuidesExample) {
  const Result<JournalSizing> sizing =
      size_journals({.ssd_mb_per_s = 1500, .hdd_mb_per_s = 150, .ssd_gb = 512});
  ASSERT_TRUE(sizing.has_value());
  EXPECT_EQ(sizing->hdds_per_ssd, 8U);
  EXPECT_EQ(sizing->journal_gb, 51U);
  EXPECT_EQ(sizing->ssds, 1U);
}

TEST(JournalSizing, SharesHddsEvenlyAmongSsds) {
  const Result<JournalSizing> sizing =
      size_journals({.ssd_mb_per_s = 1500, .hdd_mb_per_s = 150, .ssd_gb = 512, .hdds = 10});
  ASSERT_TRUE(sizing.has_value());
  EXPECT_EQ(sizing->ssds, 2U);
  EXPECT_EQ(sizing->hdds_shared, 5U);
  EXPECT_EQ(sizing->journal_gb, 81U);
  const Result<JournalSizing> few =
      size_journals({.ssd_mb_per_s = 1500, .hdd_mb_per_s = 150, .ssd_gb = 512, .hdds = 2});
  ASSERT_TRUE(few.has_value());
  EXPECT_EQ(few->journal_gb, 204U);
}

TEST(JournalSizing, ChecksumsMustFitInTheReserve) {
  JournalDrives drives{.ssd_mb_per_s = 1500, .hdd_mb_per_s = 150, .ssd_gb = 512, .hdd_tb = 12};
  EXPECT_TRUE(size_journals(drives).value_or(JournalSizing{}).checksums_fit);  // 96 of 102 GB
  drives.hdd_tb = 16;
  EXPECT_FALSE(size_journals(drives).value_or(JournalSizing{}).checksums_fit);  // 128 GB
}

TEST(JournalSizing, RefusesWhatCannotWork) {
  const auto code = [](const JournalDrives& drives) {
    return size_journals(drives).error().code();
  };
  EXPECT_EQ(code({.ssd_mb_per_s = 150, .hdd_mb_per_s = 150, .ssd_gb = 512}), Code::kUnsupported);
  EXPECT_EQ(code({.ssd_mb_per_s = 1500, .hdd_mb_per_s = 150, .ssd_gb = 1}), Code::kUnsupported);
  EXPECT_EQ(code({.ssd_mb_per_s = 0, .hdd_mb_per_s = 150, .ssd_gb = 512}), Code::kInvalidArgument);
  EXPECT_EQ(code({.ssd_mb_per_s = 1500, .hdd_mb_per_s = -1, .ssd_gb = 512}),
            Code::kInvalidArgument);
}

TEST(RunProgram, GivesOutputErrorsAndExitCode) {
  const Result<ProgramResult> copied = run_program({"cat", "-"}, "hello");
  ASSERT_TRUE(copied.has_value());
  EXPECT_EQ(copied->output, "hello");
  EXPECT_EQ(copied->exit_code, 0);
  const Result<ProgramResult> missing = run_program({"ls", "/no/such/place"});
  ASSERT_TRUE(missing.has_value());
  EXPECT_NE(missing->exit_code, 0);
  EXPECT_NE(missing->errors.find("/no/such/place"), std::string::npos);
}

TEST(RunProgram, WordsAreNotReadByAShell) {
  EXPECT_EQ(run_checked({"echo", "$HOME;", "`ls`", "*"}).value_or(""), "$HOME; `ls` *\n");
}

TEST(RunProgram, AFailureCarriesWhatTheProgramSaid) {
  const Result<std::string> failed = run_checked({"ls", "/no/such/place"});
  ASSERT_FALSE(failed.has_value());
  EXPECT_NE(failed.error().message().find("No such file"), std::string::npos);
  EXPECT_EQ(run_program({"cairn-no-such-program"}).error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace cairn::admin
