#include "admin/drive/prepare_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::admin {
namespace {

DescribedDrive empty_drive() {
  return {.path = "/dev/sdb",
          .kind = DriveKind::kDrive,
          .whole = {},
          .why_not = {},
          .bytes = 500_GiB,
          .sector_bytes = 512,
          .read_only = false,
          .users = {},
          .contents = {{.where = "/dev/sdb", .type = {}, .label = {}, .name = {}}}};
}

Error refusal(const DescribedDrive& drive, const PrepareOptions& options = {}) {
  const Result<DrivePlan> plan = plan_drive(drive, options);
  EXPECT_FALSE(plan.has_value());
  return plan.has_value() ? Error(Code::kInternal) : plan.error();
}

DrivePlan plan_of(const DescribedDrive& drive, const PrepareOptions& options = {}) {
  Result<DrivePlan> plan = plan_drive(drive, options);
  EXPECT_TRUE(plan.has_value()) << plan.error().message();
  return plan.value_or(DrivePlan{});
}

bool has_words(const DriveStep& step, const std::vector<std::string>& words) {
  return !std::ranges::search(step.words, words).empty();
}

TEST(PreparePlan, SaysWhatTheGuideSays) {
  EXPECT_EQ(prepare_question("/dev/sdb"),
            "ALL data on /dev/sdb will be completely destroyed. Are you sure to continue? [y]\n");
  const DrivePlan plan = plan_of(empty_drive());
  std::vector<std::string> lines;
  for (const DriveStep& step : plan.steps) lines.push_back(step.says);
  EXPECT_EQ(lines, (std::vector<std::string>{"Zeroing out beginning and end of /dev/sdb...",
                                             "Partitioning /dev/sdb...", "Waiting for kernel...",
                                             "Formatting /dev/sdb1 partition..."}));
}

TEST(PreparePlan, MakesOneAlignedPartitionOfTheWholeDrive) {
  const DrivePlan plan = plan_of(empty_drive(), {.ssd = false, .force = false, .cluster = "stor1"});
  EXPECT_EQ(plan.start, 1_MiB);
  EXPECT_EQ(plan.bytes, 500_GiB - 2_MiB);
  EXPECT_EQ(plan.partition, "/dev/sdb1");
  const DriveStep& table = plan.steps.at(1);
  EXPECT_EQ(table.words.front(), "sfdisk");
  EXPECT_EQ(table.words.back(), "/dev/sdb");
  EXPECT_EQ(table.input,
            "label: gpt\nunit: sectors\nstart=2048, size=1048571904, type=linux, "
            "name=\"cairn-cs stor1\"\n");
  const DriveStep& format = plan.steps.at(3);
  EXPECT_TRUE(has_words(format, {"-L", "cairn-cs"}));
  EXPECT_TRUE(has_words(format, {"-E", "nodiscard"}));
  EXPECT_TRUE(has_words(format, {"-b", "4096"}));
  EXPECT_EQ(format.words.back(), "/dev/sdb1");
}

TEST(PreparePlan, AnSsdIsDiscardedAlignedToItsBlocksAndLabelled) {
  const DrivePlan plan = plan_of(empty_drive(), {.ssd = true, .force = false, .cluster = {}});
  EXPECT_EQ(plan.start % 4_MiB, 0U);
  EXPECT_EQ(plan.bytes % 4_MiB, 0U);
  EXPECT_LE(plan.start + plan.bytes, 500_GiB - 1_MiB);
  EXPECT_TRUE(has_words(plan.steps.at(3), {"-L", "cairn-ssd"}));
  EXPECT_TRUE(has_words(plan.steps.at(3), {"-E", "discard"}));
  EXPECT_NE(plan.steps.at(1).input.find("name=\"cairn-ssd\""), std::string::npos);
}

TEST(PreparePlan, CountsInTheDrivesOwnSectors) {
  DescribedDrive drive = empty_drive();
  drive.sector_bytes = 4096;
  EXPECT_NE(plan_of(drive).steps.at(1).input.find("start=256, size=131071488,"), std::string::npos);
}

TEST(PreparePlan, ALongClusterNameIsCutToWhatATableHolds) {
  const DrivePlan plan =
      plan_of(empty_drive(), {.ssd = true, .force = false, .cluster = std::string(63, 'x')});
  const std::string& input = plan.steps.at(1).input;
  const std::size_t from = input.find("name=\"") + 6;
  EXPECT_EQ(input.find('"', from) - from, 36U);
}

TEST(PreparePlan, RefusesAPartitionAndNamesItsDrive) {
  DescribedDrive drive = empty_drive();
  drive.path = "/dev/loop0p1";
  drive.kind = DriveKind::kPartition;
  drive.whole = "/dev/loop0";
  const Error error = refusal(drive, {.ssd = false, .force = true, .cluster = {}});
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  EXPECT_NE(error.message().find("/dev/loop0p1 is a partition of /dev/loop0;"), std::string::npos);
}

TEST(PreparePlan, RefusesWhatIsNoDrive) {
  DescribedDrive drive = empty_drive();
  drive.kind = DriveKind::kOther;
  drive.why_not = "is a volume of the device mapper";
  EXPECT_EQ(refusal(drive).code(), Code::kInvalidArgument);
}

TEST(PreparePlan, NoForceTakesADriveFromWhoUsesIt) {
  DescribedDrive drive = empty_drive();
  drive.users = {{"/dev/sdb1", "is mounted at /home"}, {"/dev/sdb2", "is swap space in use"}};
  const Error error = refusal(drive, {.ssd = false, .force = true, .cluster = {}});
  EXPECT_EQ(error.code(), Code::kBusy);
  EXPECT_EQ(error.message(), "/dev/sdb1 is mounted at /home; /dev/sdb2 is swap space in use");
}

TEST(PreparePlan, ADriveOfAClusterNeedsForce) {
  for (const DriveContent& ours :
       {DriveContent{
            .where = "partition 1 of /dev/sdb", .type = "ext4", .label = "cairn-cs", .name = {}},
        DriveContent{
            .where = "partition 1 of /dev/sdb", .type = {}, .label = {}, .name = "cairn-ssd stor1"},
        DriveContent{.where = "/dev/sdb", .type = "ext4", .label = "cairn-ssd", .name = {}}}) {
    DescribedDrive drive = empty_drive();
    drive.contents.push_back(ours);
    EXPECT_EQ(refusal(drive).code(), Code::kRefusedForSafety);
    EXPECT_TRUE(plan_drive(drive, {.ssd = false, .force = true, .cluster = {}}).has_value());
  }
}

TEST(PreparePlan, APartOfAVolumeThatIsNotStartedNeedsForce) {
  for (const char* type : {"LVM2_member", "linux_raid_member", "crypto_LUKS", "zfs_member"}) {
    DescribedDrive drive = empty_drive();
    drive.contents = {{.where = "partition 3 of /dev/sdb", .type = type, .label = {}, .name = {}}};
    EXPECT_EQ(refusal(drive).code(), Code::kRefusedForSafety) << type;
    EXPECT_TRUE(plan_drive(drive, {.ssd = false, .force = true, .cluster = {}}).has_value());
  }
}

TEST(PreparePlan, OtherDataIsTheBusinessOfTheQuestion) {
  DescribedDrive drive = empty_drive();
  drive.contents = {
      {.where = "partition 1 of /dev/sdb", .type = "xfs", .label = "photos", .name = "data"}};
  EXPECT_TRUE(plan_drive(drive, {}).has_value());
}

TEST(PreparePlan, RefusesADriveThatIsTooSmallOrWriteProtected) {
  DescribedDrive small = empty_drive();
  small.bytes = kDriveBytesMin - 512;
  EXPECT_EQ(refusal(small).code(), Code::kNoSpace);
  small.bytes = 0;
  EXPECT_EQ(refusal(small).code(), Code::kNoSpace);
  DescribedDrive locked = empty_drive();
  locked.read_only = true;
  EXPECT_EQ(refusal(locked).code(), Code::kReadOnly);
}

TEST(PreparePlan, EverySizeGivesAPartitionInsideTheDrive) {
  for (ByteCount bytes = kDriveBytesMin; bytes < kDriveBytesMin + 9_MiB; bytes += 512 * 37) {
    for (const bool ssd : {false, true}) {
      DescribedDrive drive = empty_drive();
      drive.bytes = bytes;
      const DrivePlan plan = plan_of(drive, {.ssd = ssd, .force = false, .cluster = {}});
      ASSERT_LE(plan.start + plan.bytes + 33 * 512, bytes);
      ASSERT_EQ(plan.start % 1_MiB, 0U);
      ASSERT_GT(plan.bytes + 10_MiB, bytes);
    }
  }
}

}  // namespace
}  // namespace cairn::admin
