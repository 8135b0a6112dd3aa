#include "admin/commands/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "common/cluster/durable_file.h"

namespace cairn::admin {

Result<FileLock> lock_stopped_repository(const std::string& directory) {
  const std::string path = directory + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return fail(cluster::system_error(errno, "open", path));
  FileLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return fail(cluster::system_error(errno, "lock", path));
  const Result<std::string> text = cluster::read_small_file(path);
  std::string pid = text.value_or("");
  while (pid.ends_with('\n')) pid.pop_back();
  return fail(Code::kBusy, directory + " is in use by process " + (pid.empty() ? "?" : pid));
}

}  // namespace cairn::admin
