#include "admin/hwflush/quick_verdict.h"

#include <gtest/gtest.h>

#include "admin/drive/testing/fake_tree.h"

namespace cairn::admin {
namespace {

FlushVerdict judge(MediumKind kind, const std::string& cache, Duration latency) {
  const std::size_t count = static_cast<std::size_t>(1s / latency);
  return judge_flushes(
      {.kind = kind, .filesystem = "ext4", .drive = "/dev/sdx", .write_cache = cache},
      {.latencies = std::vector<Duration>(count, latency), .elapsed = 1s});
}

TEST(QuickVerdict, ARotatingDiskThatFlushesThousandsOfTimesIsSuspicious) {
  const FlushVerdict verdict = judge(MediumKind::kRotating, "write back", 100us);
  EXPECT_TRUE(verdict.suspicious);
  EXPECT_NEAR(verdict.flushes_per_second, 10000, 1);
  EXPECT_NE(verdict.text.find("rotating"), std::string::npos);
  EXPECT_NE(verdict.text.find("write back"), std::string::npos);
  EXPECT_FALSE(judge(MediumKind::kRotating, "write back", 8ms).suspicious);
}

TEST(QuickVerdict, ADisabledFlushIsNamed) {
  EXPECT_NE(judge(MediumKind::kRotating, "write through", 100us).text.find("sends no flushes"),
            std::string::npos);
}

TEST(QuickVerdict, AVolatileCacheOfAnSsdCannotBeFlushedInNoTime) {
  EXPECT_TRUE(judge(MediumKind::kSolidState, "write back", 20us).suspicious);
  EXPECT_FALSE(judge(MediumKind::kSolidState, "write through", 20us).suspicious);
  EXPECT_FALSE(judge(MediumKind::kSolidState, "write back", 500us).suspicious);
  EXPECT_TRUE(judge(MediumKind::kSolidState, "write through", 2us).suspicious);
}

TEST(QuickVerdict, WhatCannotBeSeenIsSaid) {
  EXPECT_TRUE(judge(MediumKind::kNone, "", 2us).suspicious);
  const FlushVerdict virtual_drive = judge(MediumKind::kVirtual, "write back", 100us);
  EXPECT_FALSE(virtual_drive.suspicious);
  EXPECT_NE(virtual_drive.text.find("host"), std::string::npos);
  for (const MediumKind kind :
       {MediumKind::kNone, MediumKind::kRotating, MediumKind::kSolidState, MediumKind::kVirtual}) {
    EXPECT_NE(judge(kind, "", 9ms).text.find("cannot show what a power cut does"),
              std::string::npos);
  }
}

TEST(QuickVerdict, ShowsBestMedianAndSlowest) {
  std::vector<Duration> latencies(100, 1000us);
  latencies[0] = 3000us;
  latencies[1] = 100us;
  Medium medium;
  medium.kind = MediumKind::kSolidState;
  const FlushVerdict verdict = judge_flushes(medium, {.latencies = latencies, .elapsed = 1s});
  EXPECT_NE(verdict.text.find("latency 1000 us (best 100, 99% below 1000)"), std::string::npos)
      << verdict.text;
}

TEST(Medium, IsReadFromTheLowestDrive) {
  FakeTree fake;
  fake.add_drive("sda", {{"queue/rotational", "1"}, {"queue/write_cache", "write back"}});
  fake.add_partition("sda", 1, {});
  fake.add_drive("dm-0", {{"queue/rotational", "0"}});
  fake.stack("dm-0", "sda1");
  const Medium medium = medium_of(fake.tree(), "dm-0");
  EXPECT_EQ(medium.kind, MediumKind::kRotating);
  EXPECT_EQ(medium.drive, "/dev/sda");
  EXPECT_EQ(medium.write_cache, "write back");
  EXPECT_EQ(medium_of(fake.tree(), "sda1").drive, "/dev/sda");
}

TEST(Medium, TellsVirtualDrives) {
  FakeTree fake;
  fake.add_drive("loop3", {});
  fake.add_drive("vda", {{"queue/rotational", "1"}});
  fake.add_drive("sdb", {{"device/model", "QEMU HARDDISK"}});
  fake.add_drive("sdc", {{"device/model", "INTEL SSDSC2"}, {"queue/rotational", "0"}});
  fake.add_drive("sdd", {});
  fake.set_driver("sdd", "virtio_blk");
  for (const char* name : {"loop3", "vda", "sdb", "sdd"}) {
    EXPECT_EQ(medium_of(fake.tree(), name).kind, MediumKind::kVirtual) << name;
  }
  EXPECT_EQ(medium_of(fake.tree(), "sdc").kind, MediumKind::kSolidState);
}

TEST(QuickCheck, MeasuresAndLeavesNothing) {
  const TempDirectory directory;
  const Result<FlushVerdict> verdict = quick_flush_check(directory.path(), std::chrono::seconds(0));
  ASSERT_TRUE(verdict.has_value()) << verdict.error().message();
  EXPECT_GT(verdict->flushes_per_second, 0);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  EXPECT_EQ(quick_flush_check(directory / "none", std::chrono::seconds(0)).error().code(),
            Code::kNotFound);
}

}  // namespace
}  // namespace cairn::admin
