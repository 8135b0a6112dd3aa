#include "admin/hwflush/test_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "admin/hwflush/limits.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin::hwflush {
namespace {

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0600;

Result<DirectoryId> read_id(const std::string& path) {
  const Result<std::string> text = cluster::read_small_file(path);
  if (!text.has_value()) {
    const bool absent =
        text.error().code() == Code::kNotFound || text.error().code() == Code::kNotDirectory;
    if (absent) return DirectoryId{};
    return fail(text.error());
  }
  const bool one_line = text->ends_with('\n');
  const std::optional<DirectoryId> id =
      DirectoryId::parse(std::string_view(*text).substr(0, text->size() - (one_line ? 1 : 0)));
  // A device that lost the file's data leaves one that is empty or garbage.
  return id.value_or(DirectoryId{});
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) return {};
  return fail(cluster::system_error(errno, "remove", path));
}

}  // namespace

Result<TestDirectory> TestDirectory::look(const std::string& path) {
  TestDirectory directory(path);
  TRY(directory.id_, read_id(directory.id_file()));
  if (directory.id_.empty()) return directory;
  TRY_VOID(directory.lock());
  for (std::uint32_t thread = 0; thread < kThreadsMax; ++thread) {
    TRY(const std::uint64_t counter,
        read_newest_counter(directory.file_of(thread), directory.id_, thread));
    if (counter != 0) directory.on_disk_.push_back({thread, counter});
  }
  return directory;
}

std::uint64_t TestDirectory::counter_of(std::uint32_t thread) const {
  const auto found = std::ranges::find(on_disk_, thread, &Counter::thread);
  return found == on_disk_.end() ? 0 : found->value;
}

std::string TestDirectory::file_of(std::uint32_t thread) const {
  return path_ + "/id" + std::to_string(thread) + ".counter";
}

Status TestDirectory::lock() {
  if (lock_.get() >= 0) return {};
  FileDescriptor file(::open(id_file().c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return fail(cluster::system_error(errno, "open", id_file()));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(cluster::system_error(errno, "lock", id_file()));
    return fail(Code::kBusy, "another hwflush-check is at work in " + path_);
  }
  lock_ = std::move(file);
  return {};
}

Status TestDirectory::clear() {
  for (std::uint32_t thread = 0; thread < kThreadsMax; ++thread) {
    TRY_VOID(remove_file(file_of(thread)));
  }
  TRY_VOID(remove_file(id_file()));
  id_ = {};
  on_disk_.clear();
  lock_ = FileDescriptor();
  return {};
}

Status TestDirectory::begin(DirectoryId fresh) {
  if (id_.empty()) {
    TRY_VOID(cluster::make_directories(path_, kDirectoryMode));
    const Status made =
        cluster::create_file_durably(id_file(), fresh.to_string() + "\n", kFileMode);
    if (!made.has_value() && made.error().code() == Code::kExists) {
      return fail(Code::kBusy, id_file() +
                                   " is damaged, or another hwflush-check is at work; "
                                   "--new begins anew");
    }
    TRY_VOID(made);
    id_ = fresh;
  }
  return lock();
}

}  // namespace cairn::admin::hwflush
