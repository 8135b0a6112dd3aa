#include "admin/drive/file_descriptor.h"

#include <unistd.h>

#include <cerrno>

#include "common/cluster/durable_file.h"

namespace cairn::admin {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Status write_all_at(int fd, Bytes bytes, ByteCount offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(cluster::system_error(errno, "write", path));
    if (written == 0) return fail(Code::kNoSpace, "write " + path + ": nothing was written");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<ByteCount>(written);
  }
  return {};
}

Result<std::size_t> read_all_at(int fd, MutableBytes into, ByteCount offset,
                                const std::string& path) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(cluster::system_error(errno, "read", path));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace cairn::admin
