#include "admin/drive/prepare_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "admin/drive/sys_tree.h"
#include "common/base/check.h"

namespace cairn::admin {
namespace {

constexpr const char* kLabelStart = "cairn-";
constexpr const char* kHddLabel = "cairn-cs";
constexpr const char* kSsdLabel = "cairn-ssd";
constexpr std::size_t kPartitionNameMax = 36;  // of a GPT
// SSDs erase blocks of up to this size; a partition of whole ones is discarded whole.
constexpr ByteCount kHddUnit = 1_MiB;
constexpr ByteCount kSsdUnit = 4_MiB;
// The second table of a GPT takes 33 sectors at the end.
constexpr ByteCount kEndBytes = 1_MiB;
// A store makes few, large files: an inode a MiB saves space and time on big drives.
constexpr ByteCount kFewInodesFrom = 16_GiB;

// Parts of something bigger that has not been started.
constexpr std::array kMembers = {"LVM2_member",     "LVM1_member",     "linux_raid_member",
                                 "isw_raid_member", "ddf_raid_member", "zfs_member",
                                 "bcache",          "ceph_bluestore",  "drbd",
                                 "crypto_LUKS",     "mpath_member",    "stratis"};

bool is_ours(const DriveContent& content) {
  return content.label.starts_with(kLabelStart) || content.name.starts_with(kLabelStart);
}

Status check_kind(const DescribedDrive& drive) {
  if (drive.kind == DriveKind::kPartition) {
    return fail(Code::kInvalidArgument, drive.path + " is a partition of " + drive.whole +
                                            "; give the whole drive:  cairn prepare-drive " +
                                            drive.whole);
  }
  if (drive.kind == DriveKind::kOther) {
    return fail(Code::kInvalidArgument, drive.path + " " + drive.why_not + ", not a drive");
  }
  return {};
}

Status check_free(const DescribedDrive& drive) {
  if (drive.users.empty()) return {};
  std::string text;
  for (const DriveUser& user : drive.users) {
    text += (text.empty() ? "" : "; ") + user.device + " " + user.how;
  }
  return fail(Code::kBusy, text);
}

Status check_contents(const DescribedDrive& drive, bool force) {
  if (force) return {};
  for (const DriveContent& content : drive.contents) {
    if (is_ours(content)) {
      const std::string label = content.label.empty() ? content.name : content.label;
      return fail(Code::kRefusedForSafety,
                  content.where + " belongs to a cluster: it has the label '" + label +
                      "' of a drive that was prepared before. With --force its pieces are lost "
                      "to the cluster");
    }
    if (std::ranges::find(kMembers, content.type) != kMembers.end()) {
      return fail(Code::kRefusedForSafety,
                  content.where + " is part of a volume (" + content.type +
                      ") that is not started. With --force that volume loses it");
    }
  }
  return {};
}

Status check_size(const DescribedDrive& drive) {
  if (drive.read_only) return fail(Code::kReadOnly, drive.path + " is write-protected");
  if (drive.bytes < kDriveBytesMin) {
    return fail(Code::kNoSpace, fmt::format("{} has {} MiB, and {} MiB are the least", drive.path,
                                            drive.bytes >> 20, kDriveBytesMin >> 20));
  }
  return {};
}

std::string table_script(const DrivePlan& plan, ByteCount sector, const std::string& name) {
  return fmt::format("label: gpt\nunit: sectors\nstart={}, size={}, type=linux, name=\"{}\"\n",
                     div_exact(plan.start, sector), div_exact(plan.bytes, sector), name);
}

std::vector<std::string> format_words(const DrivePlan& plan, bool ssd) {
  std::vector<std::string> words = {"mkfs.ext4", "-q", "-F", "-b",      std::to_string(kBlockBytes),
                                    "-m",        "0",  "-L", plan.label};
  words.insert(words.end(), {"-E", ssd ? "discard" : "nodiscard"});
  if (plan.bytes >= kFewInodesFrom) words.insert(words.end(), {"-i", std::to_string(1_MiB)});
  words.push_back(plan.partition);
  return words;
}

}  // namespace

std::string prepare_question(const std::string& drive) {
  return "ALL data on " + drive + " will be completely destroyed. Are you sure to continue? [y]\n";
}

Result<DrivePlan> plan_drive(const DescribedDrive& drive, const PrepareOptions& options) {
  TRY_VOID(check_kind(drive));
  TRY_VOID(check_free(drive));
  TRY_VOID(check_size(drive));
  TRY_VOID(check_contents(drive, options.force));

  const ByteCount unit = options.ssd ? kSsdUnit : kHddUnit;
  DrivePlan plan;
  plan.drive = drive.path;
  plan.partition = partition_name(drive.path, 1);
  plan.drive_bytes = drive.bytes;
  plan.start = unit;
  plan.bytes = align_down(drive.bytes - kEndBytes - unit, unit);
  plan.label = options.ssd ? kSsdLabel : kHddLabel;
  CHECK_EQ(plan.start % kBlockBytes, ByteCount{0});
  CHECK_EQ(unit % drive.sector_bytes, ByteCount{0});

  const std::string cluster = options.cluster.empty() ? "" : " " + options.cluster;
  const std::string name = (plan.label + cluster).substr(0, kPartitionNameMax);
  plan.steps = {
      {.kind = DriveStepKind::kWipe,
       .says = "Zeroing out beginning and end of " + plan.drive + "..."},
      {.kind = DriveStepKind::kRun,
       .says = "Partitioning " + plan.drive + "...",
       .words = {"sfdisk", "--quiet", "--lock=yes", "--wipe=always", "--wipe-partitions=always",
                 "--no-reread", "--no-tell-kernel", plan.drive},
       .input = table_script(plan, drive.sector_bytes, name)},
      {.kind = DriveStepKind::kAwait, .says = "Waiting for kernel..."},
      {.kind = DriveStepKind::kRun,
       .says = "Formatting " + plan.partition + " partition...",
       .words = format_words(plan, options.ssd)},
  };
  return plan;
}

}  // namespace cairn::admin
