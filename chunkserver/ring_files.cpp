#include "chunkserver/ring_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "chunkserver/io/fault_device.h"
#include "chunkserver/io/open_device.h"
#include "common/cluster/durable_file.h"

namespace cairn::chunkserver {
namespace {

namespace fs = cairn::cluster;

// Beside the journal itself: its header, the owner's file, the filesystem's own needs.
constexpr ByteCount kRoomBeside = 1_MiB;

std::uint64_t errors_of(const io::DeviceFigures& figures) {
  return figures.reads_failed + figures.writes_failed + figures.flushes_failed;
}

std::unexpected<Error> journal_failed(const Error& error) {
  return fail(Code::kJournalFailed, error.message());
}

}  // namespace

// Hands requests to a metered device and knows when it is closed.
class RingFiles::Device final : public io::BlockDevice {
 public:
  Device(RingFiles& owner, std::unique_ptr<io::BlockDevice> file, int lock)
      : BlockDevice(owner.runtime_), owner_(owner), lock_(lock), meter_(runtime(), below(file)) {
    owner_.open_.push_back(this);
  }
  ~Device() override {
    std::erase(owner_.open_, this);
    owner_.past_errors_ += errors_of(meter_.figures());
    ::close(lock_);
  }
  ByteCount size() const override { return meter_.size(); }
  ByteCount space() const override { return meter_.space(); }
  bool direct() const override { return meter_.direct(); }
  ByteCount size_limit() const override { return meter_.size_limit(); }
  Task<Status> read(DiskOffset offset, MutableBytes into) override {
    return meter_.read(offset, into);
  }
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override {
    return meter_.write(offset, std::move(parts));
  }
  Task<Status> flush() override { return meter_.flush(); }
  Task<Status> write_durably(std::vector<io::DeviceWrite> writes) override {
    return meter_.write_durably(std::move(writes));
  }
  Task<Status> write_through(io::DeviceWrite write) override {
    return meter_.write_through(std::move(write));
  }
  Task<Status> discard(DiskOffset offset, ByteCount length) override {
    return meter_.discard(offset, length);
  }
  Task<Status> grow(ByteCount size) override { return meter_.grow(size); }
  std::string engine() const override { return meter_.engine(); }
  std::string engine_note() const override { return meter_.engine_note(); }

  io::MeteredDevice& meter() { return meter_; }
  io::FaultDevice* faults() { return faults_; }

 private:
  std::unique_ptr<io::BlockDevice> below(std::unique_ptr<io::BlockDevice>& file) {
    if (!owner_.allow_faults_) return std::move(file);
    auto faulty = std::make_unique<io::FaultDevice>(runtime(), std::move(file));
    faulty->set_plan(owner_.plan_);
    faults_ = faulty.get();
    return faulty;
  }

  RingFiles& owner_;
  int lock_;
  io::FaultDevice* faults_ = nullptr;
  io::MeteredDevice meter_;
};

store::OpenRing RingFiles::open_hook() {
  return [this](const std::string& directory, bool create) { return open(directory, create); };
}

store::RemoveRing RingFiles::remove_hook() {
  return [this](const std::string& directory) { return remove(directory); };
}

Status RingFiles::check_owner(const std::string& directory) const {
  const Result<std::optional<fs::JournalOwner>> found = fs::journal_owner(directory);
  if (!found.has_value()) return journal_failed(found.error());
  if (!found->has_value()) {
    return fail(Code::kJournalFailed, "the journal is not at " + directory + ": there is no " +
                                          fs::kJournalOwnerFile + " (is its drive mounted?)");
  }
  if ((*found)->repo_uuid == owner_.repo_uuid) return {};
  return fail(Code::kJournalFailed, directory + " holds the journal of " + describe(**found));
}

Status RingFiles::look_again(const std::string& directory) const {
  TRY_VOID(check_owner(directory));
  const std::string path = directory + "/" + fs::kJournalFile;
  if (::access(path.c_str(), F_OK) == 0) return {};
  return journal_failed(fs::system_error(errno, "look at", path));
}

Result<std::unique_ptr<io::BlockDevice>> RingFiles::open(const std::string& directory,
                                                         bool create) {
  absent_ = directory;
  TRY_VOID(check_owner(directory));
  const std::string lock_path = directory + "/" + fs::kJournalOwnerFile;
  const int lock = ::open(lock_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (lock < 0) return journal_failed(fs::system_error(errno, "open", lock_path));
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int number = errno;
    ::close(lock);
    return journal_failed(fs::system_error(number, "lock", lock_path));
  }
  const std::string path = directory + "/" + fs::kJournalFile;
  Result<std::unique_ptr<io::BlockDevice>> file =
      io::open_device(runtime_, path, {.create = create, .allow_uring = true});
  if (file.has_value() || file.error().code() != Code::kNotFound) absent_.clear();
  if (!file.has_value()) {
    ::close(lock);
    return fail(Code::kJournalFailed, "the journal: " + file.error().message());
  }
  return std::unique_ptr<io::BlockDevice>(std::make_unique<Device>(*this, std::move(*file), lock));
}

Status RingFiles::remove(const std::string& directory) const {
  const Result<std::optional<fs::JournalOwner>> found = fs::journal_owner(directory);
  if (!found.has_value()) return journal_failed(found.error());
  // Not there, or somebody else's by now: nothing of ours is left.
  if (!found->has_value() || (*found)->repo_uuid != owner_.repo_uuid) return {};
  const Status removed = fs::remove_file_durably(directory + "/" + fs::kJournalFile);
  if (!removed.has_value()) return journal_failed(removed.error());
  return release(directory);
}

Status RingFiles::take(const std::string& directory, ByteCount bytes) const {
  TRY_VOID(fs::take_journal_directory(directory, owner_));
  struct statvfs status = {};
  if (::statvfs(directory.c_str(), &status) != 0) {
    return fail(fs::system_error(errno, "look at", directory));
  }
  const ByteCount room = ByteCount{status.f_bavail} * status.f_frsize;
  if (room >= bytes + kRoomBeside) return {};
  return fail(Code::kNoSpace, directory + " has " + std::to_string(room / 1_MiB) +
                                  " MB free, a journal of " + std::to_string(bytes / 1_MiB) +
                                  " MB does not fit");
}

Status RingFiles::release(const std::string& directory) const {
  const Status released = fs::release_journal_directory(directory, owner_.repo_uuid);
  if (!released.has_value()) return journal_failed(released.error());
  return {};
}

Duration RingFiles::oldest_request() const {
  Duration oldest = {};
  for (Device* device : open_) oldest = std::max(oldest, device->meter().oldest_request());
  return oldest;
}

std::uint64_t RingFiles::io_errors() const {
  std::uint64_t errors = past_errors_;
  for (Device* device : open_) errors += errors_of(device->meter().figures());
  return errors;
}

void RingFiles::set_fault_plan(const io::FaultPlan& plan) {
  CHECK(allow_faults_);
  plan_ = plan;
  for (Device* device : open_) device->faults()->set_plan(plan);
}

}  // namespace cairn::chunkserver
