#include "admin/drive/prepare_run.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "admin/drive/drive_contents.h"
#include "admin/drive/file_descriptor.h"
#include "admin/drive/kernel_partitions.h"
#include "admin/drive/run_program.h"
#include "common/base/buffer.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

constexpr Duration kKernelTime = 30s;
constexpr ByteCount kZeroBytes = 1_MiB;

Status write_zeros(int fd, ByteCount from, ByteCount to, const std::string& drive) {
  const Buffer zeros = Buffer::zeroed(kZeroBytes);
  while (from < to) {
    const ByteCount length = std::min(kZeroBytes, to - from);
    TRY_VOID(write_all_at(fd, zeros.span().first(length), from, drive));
    from += length;
  }
  return {};
}

// The last gate: the kernel gives the drive to one only, and to none while a filesystem, a volume
// or swap has it or one of its partitions.
Result<FileDescriptor> open_exclusively(const DrivePlan& plan) {
  FileDescriptor file(::open(plan.drive.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == EBUSY) {
      return fail(Code::kBusy, plan.drive + " or one of its partitions is in use");
    }
    return fail(cluster::system_error(errno, "open", plan.drive));
  }
  std::uint64_t bytes = 0;
  if (::ioctl(file.get(), BLKGETSIZE64, &bytes) != 0) {
    return fail(cluster::system_error(errno, "ask for the size of", plan.drive));
  }
  if (bytes != plan.drive_bytes) {
    return fail(Code::kBusy, plan.drive + " is another drive now: its size has changed");
  }
  return file;
}

Status wipe(const DrivePlan& plan) {
  {
    TRY(const FileDescriptor file, open_exclusively(plan));
    // udev looks at a drive only while nobody has this lock.
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      return fail(Code::kBusy, "another program is at work on " + plan.drive);
    }
    const ByteCount end = plan.drive_bytes;
    TRY_VOID(write_zeros(file.get(), 0, std::min(kWipedBytes, end), plan.drive));
    TRY_VOID(write_zeros(file.get(), end - std::min(kWipedBytes, end), end, plan.drive));
    if (::fsync(file.get()) != 0) return fail(cluster::system_error(errno, "flush", plan.drive));
  }
  return reread_partitions(plan.drive, kKernelTime);
}

}  // namespace

Status check_programs(const DrivePlan& plan) {
  for (const DriveStep& step : plan.steps) {
    if (step.kind != DriveStepKind::kRun) continue;
    TRY_VOID(find_program(step.words.front()));
  }
  return {};
}

Status check_exclusive(const DrivePlan& plan) {
  TRY(const FileDescriptor file, open_exclusively(plan));
  return {};
}

Result<PreparedDrive> carry_out(const DrivePlan& plan,
                                const std::function<void(const std::string&)>& say) {
  PreparedDrive prepared{.partition = plan.partition, .uuid = {}, .warnings = {}};
  for (const DriveStep& step : plan.steps) {
    say(step.says + "\n");
    switch (step.kind) {
      case DriveStepKind::kWipe: {
        TRY_VOID(wipe(plan));
        break;
      }
      case DriveStepKind::kRun: {
        TRY_VOID(run_checked(step.words, step.input));
        break;
      }
      case DriveStepKind::kAwait: {
        TRY(const ShownBy shown, await_partition(plan, kKernelTime));
        if (shown == ShownBy::kUs) {
          prepared.warnings.push_back(
              "this kernel does not read GPT tables: it was told of " + plan.partition +
              ", and must be told again after each restart (partx -a " + plan.drive + ")");
        }
        break;
      }
    }
  }
  TRY(prepared.uuid, filesystem_uuid(plan.partition));
  say("Done!\n");
  return prepared;
}

}  // namespace cairn::admin
