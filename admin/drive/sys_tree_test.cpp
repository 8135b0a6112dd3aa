#include "admin/drive/sys_tree.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include "admin/drive/alignment.h"
#include "admin/drive/describe_drive.h"
#include "admin/drive/drive_users.h"
#include "admin/drive/mount_table.h"
#include "admin/drive/testing/fake_tree.h"

namespace cairn::admin {
namespace {

TEST(SysTree, NamesDevicesAndTheirDrives) {
  FakeTree fake;
  fake.add_drive("sda", {{"dev", "8:0"}, {"size", "1000"}, {"queue/rotational", "1"}});
  fake.add_partition("sda", 2, {{"dev", "8:2"}, {"start", "4096"}});
  fake.add_partition("sda", 10, {{"start", "8192"}});
  fake.add_drive("nvme0n1", {{"dev", "259:0"}});
  fake.add_partition("nvme0n1", 1, {});
  const SysTree tree = fake.tree();
  EXPECT_EQ(tree.name_of(makedev(8, 2)), "sda2");
  EXPECT_EQ(tree.name_of(makedev(8, 3)), std::nullopt);
  EXPECT_EQ(tree.drive_of("sda2"), "sda");
  EXPECT_EQ(tree.drive_of("sda"), "sda");
  EXPECT_FALSE(tree.is_partition("sda"));
  EXPECT_EQ(tree.number("sda", "size"), 1000U);
  EXPECT_EQ(tree.number("sda", "queue/rotational"), 1U);
  EXPECT_EQ(tree.number("sda", "nothing"), std::nullopt);
  EXPECT_EQ(tree.partitions_of("sda"), (std::vector<std::string>{"sda2", "sda10"}));
  EXPECT_EQ(tree.partitions_of("nvme0n1"), std::vector<std::string>{"nvme0n1p1"});
  EXPECT_FALSE(tree.exists("sdb"));
}

TEST(SysTree, PathsAndPartitionNamesFollowTheKernel) {
  EXPECT_EQ(device_path("sda1"), "/dev/sda1");
  EXPECT_EQ(device_path("cciss!c0d0"), "/dev/cciss/c0d0");
  EXPECT_EQ(partition_name("/dev/sdb", 1), "/dev/sdb1");
  EXPECT_EQ(partition_name("/dev/loop0", 1), "/dev/loop0p1");
  EXPECT_EQ(partition_name("/dev/nvme0n1", 2), "/dev/nvme0n1p2");
}

TEST(MountTable, ParsesWhatTheKernelWrites) {
  const auto mounts = parse_mount_table(
      "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
      "37 35 0:25 / /run rw shared:3 shared:4 - tmpfs tmpfs rw\n"
      "nonsense\n"
      "38 35 x:1 / /bad rw - ext4 /dev/sda rw\n");
  const std::vector<MountEntry> wanted = {
      {.device = makedev(98, 0), .where = "/mnt/a b", .type = "ext3", .source = "/dev/root"},
      {.device = makedev(0, 25), .where = "/run", .type = "tmpfs", .source = "tmpfs"}};
  EXPECT_EQ(mounts, wanted);
}

TEST(MountTable, FindsThePartOfAPathThatExists) {
  const TempDirectory directory;
  EXPECT_EQ(existing_part(directory / "not/yet/made"), directory.path());
  EXPECT_EQ(existing_part("/"), "/");
}

TEST(Alignment, WarnsOfAPartitionThatBeginsBetweenBlocks) {
  FakeTree fake;
  fake.add_drive("sda", {});
  fake.add_partition("sda", 1, {{"start", "63"}});
  fake.add_partition("sda", 2, {{"start", "2048"}});
  fake.add_partition("sda", 3, {{"start", "2056"}});
  fake.add_partition("sda", 4, {{"start", "2052"}});
  const auto warning = device_alignment_warning(fake.tree(), "sda1");
  ASSERT_TRUE(warning.has_value());
  EXPECT_NE(warning->find("/dev/sda1 begins at sector 63 of /dev/sda"), std::string::npos);
  EXPECT_FALSE(device_alignment_warning(fake.tree(), "sda2").has_value());
  EXPECT_FALSE(device_alignment_warning(fake.tree(), "sda3").has_value());
  EXPECT_TRUE(device_alignment_warning(fake.tree(), "sda4").has_value());
  EXPECT_FALSE(device_alignment_warning(fake.tree(), "sda").has_value());
}

TEST(Alignment, LooksBelowVolumes) {
  FakeTree fake;
  fake.add_drive("sda", {});
  fake.add_partition("sda", 1, {{"start", "63"}});
  fake.add_drive("dm-0", {});
  fake.add_drive("dm-1", {});
  fake.stack("dm-0", "sda1");
  fake.stack("dm-1", "dm-0");
  EXPECT_TRUE(device_alignment_warning(fake.tree(), "dm-1").has_value());
}

TEST(DriveUsers, NamesMountsSwapAndVolumesOfAllPartitions) {
  FakeTree fake;
  fake.add_drive("sdb", {});
  fake.add_partition("sdb", 1, {});
  fake.add_partition("sdb", 2, {});
  fake.add_partition("sdb", 3, {});
  fake.add_drive("dm-0", {{"dm/name", "vg-root"}, {"dm/uuid", "LVM-abc"}});
  fake.add_drive("md0", {{"md/level", "raid1"}});
  fake.stack("dm-0", "sdb2");
  fake.stack("md0", "sdb3");
  const auto users = drive_users(fake.tree(), "sdb",
                                 {{"sdb1", "/home"}, {"dm-0", "/"}, {"sda1", "/other"}}, {"sdb1"});
  const std::vector<DriveUser> wanted = {
      {"/dev/sdb1", "is mounted at /home"},
      {"/dev/sdb1", "is swap space in use"},
      {"/dev/sdb2", "belongs to the LVM volume vg-root (dm-0)"},
      {"/dev/dm-0", "is mounted at /"},
      {"/dev/sdb3", "belongs to the RAID /dev/md0 (raid1)"},
  };
  EXPECT_EQ(users, wanted);
  EXPECT_TRUE(drive_users(fake.tree(), "sdb", {}, {"sda1"}).size() == 2);
}

TEST(DriveUsers, ReadsTheTableOfSwaps) {
  EXPECT_EQ(parse_swaps("Filename\tType\tSize\n/dev/sda2 partition 1000 0 -2\n/swap file 1 0 -3\n"
                        "/dev/cciss/c0d0p1 partition 1 0 -4\n"),
            (std::vector<std::string>{"sda2", "cciss!c0d0p1"}));
  EXPECT_TRUE(parse_swaps("").empty());
}

TEST(ClassifyDevice, TellsDrivesFromWhatIsNone) {
  FakeTree fake;
  fake.add_drive("sdb", {{"ro", "1"}});
  fake.add_partition("sdb", 1, {});
  fake.add_drive("dm-3", {});
  fake.add_drive("zram0", {});
  const DescribedDrive drive = classify_device(fake.tree(), "sdb");
  EXPECT_EQ(drive.kind, DriveKind::kDrive);
  EXPECT_EQ(drive.path, "/dev/sdb");
  EXPECT_TRUE(drive.read_only);
  const DescribedDrive partition = classify_device(fake.tree(), "sdb1");
  EXPECT_EQ(partition.kind, DriveKind::kPartition);
  EXPECT_EQ(partition.whole, "/dev/sdb");
  EXPECT_EQ(classify_device(fake.tree(), "dm-3").kind, DriveKind::kOther);
  EXPECT_EQ(classify_device(fake.tree(), "zram0").kind, DriveKind::kOther);
}

}  // namespace
}  // namespace cairn::admin
