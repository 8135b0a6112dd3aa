#include "admin/commands/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

std::string unfinished(const std::string& path) { return path + ".unfinished"; }

std::unexpected<Error> cannot(const char* what, const std::string& path) {
  if (errno == EEXIST) return fail(Code::kExists, path + " is there already");
  return fail(cluster::system_error(errno, what, path));
}

Status check_absent(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0) return fail(Code::kExists, path + " is there already");
  if (errno == ENOENT) return {};
  return cannot("look at", path);
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, bool replace) {
  if (!replace) {
    TRY_VOID(check_absent(path));
  }
  const std::string now = unfinished(path);
  const int file = ::open(now.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return cannot("make", now);
  return OutputFile(file, path, replace);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : file_(std::exchange(other.file_, -1)),
      path_(std::move(other.path_)),
      replace_(other.replace_),
      end_(other.end_) {}

OutputFile::~OutputFile() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(unfinished(path_).c_str());
}

Status OutputFile::put(std::uint64_t at, Bytes bytes) {
  end_ = std::max(end_, at + bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot("write", path_);
    at += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status OutputFile::grow(std::uint64_t bytes) {
  if (bytes <= end_) return {};
  if (::ftruncate(file_, static_cast<off_t>(bytes)) != 0) return cannot("grow", path_);
  end_ = bytes;
  return {};
}

Status OutputFile::commit() {
  const std::string now = unfinished(path_);
  // Not a hard link, which the filesystems of removable drives do not have. Nobody else works here.
  Status done = replace_ ? Status() : check_absent(path_);
  if (::close(std::exchange(file_, -1)) != 0 && done.has_value()) done = cannot("write", path_);
  if (done.has_value() && ::rename(now.c_str(), path_.c_str()) != 0) done = cannot("make", path_);
  if (!done.has_value()) ::unlink(now.c_str());
  return done;
}

Status make_output_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  struct stat status = {};
  if (errno == EEXIST && ::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return {};
    return fail(Code::kNotDirectory, path + " is no directory");
  }
  return cannot("make", path);
}

Status sync_output(const std::string& directory) {
  const int file = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return cannot("open", directory);
  const bool synced = ::syncfs(file) == 0;
  const int number = errno;
  ::close(file);
  if (synced) return {};
  return fail(cluster::system_error(number, "sync", directory));
}

}  // namespace cairn::admin
