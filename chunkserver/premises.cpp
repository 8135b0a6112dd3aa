#include "chunkserver/premises.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "chunkserver/io/open_device.h"
#include "common/cluster/durable_file.h"

namespace cairn::chunkserver {
namespace {

namespace fs = cairn::cluster;

constexpr unsigned kThreads = 2;  // of them one for the index at a time

std::string marker_path(const std::string& directory) { return directory + "/initialized"; }

Status check_there(const std::string& directory) {
  for (const char* part : {"/data", "/index"}) {
    const std::string path = directory + part;
    if (::access(path.c_str(), F_OK) == 0) continue;
    if (errno != ENOENT) return fail(fs::system_error(errno, "look at", path));
    return fail(
        Code::kCorrupt,
        path +
            " is gone, but this repository held pieces. Nothing was changed. Mount its disk if "
            "that is missing; else make a new chunk server (cairn make-cs): the others hold the "
            "data");
  }
  return {};
}

bool is_link(const std::string& path) {
  struct stat status = {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

// A drive that hangs does it here, on a thread that nobody waits for.
Status touch(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    if (errno == ENOENT) return {};  // not made yet
    return fail(fs::system_error(errno, "open", path));
  }
  char byte = 0;
  const ssize_t got = ::pread(file, &byte, 1, 0);
  const int number = errno;
  ::close(file);
  if (got < 0) return fail(fs::system_error(number, "read", path));
  return {};
}

}  // namespace

Premises::Premises(runtime::AsioRuntime& runtime, std::string directory,
                   const fs::CsRepository& repository, bool allow_faults)
    : runtime_(runtime),
      directory_(std::move(directory)),
      allow_faults_(allow_faults),
      offload_(runtime, kThreads),
      rings_(runtime,
             {.cluster = repository.cluster,
              .cs_id = repository.cs_id,
              .repo_uuid = repository.repo_uuid,
              .repository = directory_},
             allow_faults) {}

bool Premises::made(const std::string& directory) {
  return ::access(marker_path(directory).c_str(), F_OK) == 0;
}

Status Premises::mark_made(const std::string& directory) {
  if (made(directory)) return {};
  return fs::write_file_durably(marker_path(directory), "1\n", 0600);
}

Task<Status> Premises::off_the_loop(io::Offload::Job job) {
  co_return co_await offload_.run(std::move(job));
}

Task<Status> Premises::open() {
  const bool was_made = made(directory_);
  const std::string data = directory_ + "/data";
  io::Offload::Job look = [this, was_made, data]() -> Status {
    if (was_made) {
      TRY_VOID(check_there(directory_));
    }
    return touch(data);
  };
  CO_TRY_VOID(co_await off_the_loop(std::move(look)));
  const io::DeviceOptions options{.create = !was_made && !is_link(data), .allow_uring = true};
  CO_TRY(device_, io::open_device(runtime_, data, options));
  if (allow_faults_) {
    auto faulty = std::make_unique<io::FaultDevice>(runtime_, std::move(device_));
    data_faults_ = faulty.get();
    device_ = std::move(faulty);
  }
  io::Offload::Job open_index = [this]() -> Status {
    TRY(index_, kv::RocksKv::open(directory_ + "/index"));
    return {};
  };
  co_return co_await off_the_loop(std::move(open_index));
}

Task<Status> Premises::look_for_journal() {
  io::Offload::Job look = [this, directory = rings_.absent()]() -> Status {
    return rings_.look_again(directory);
  };
  co_return co_await off_the_loop(std::move(look));
}

store::Offload Premises::offload_hook() {
  return [this](std::move_only_function<Status()> job) { return offload_.run(std::move(job)); };
}

}  // namespace cairn::chunkserver
