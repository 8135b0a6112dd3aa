#include "chunkserver/inspect/frozen_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cairn::chunkserver::inspect {

Result<std::unique_ptr<FrozenDevice>> FrozenDevice::open(runtime::Runtime& runtime,
                                                         const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    const Code code = errno == ENOENT ? Code::kNotFound : Code::kDiskFailed;
    return fail(code, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  // Of a block device, too.
  const off_t end = ::lseek(file, 0, SEEK_END);
  if (end < 0) {
    const int number = errno;
    ::close(file);
    return fail(Code::kDiskFailed, fmt::format("{}: {}", path, std::strerror(number)));
  }
  const ByteCount size = align_down(static_cast<ByteCount>(end), kBlockBytes);
  return std::unique_ptr<FrozenDevice>(new FrozenDevice(runtime, file, size));
}

FrozenDevice::~FrozenDevice() { ::close(file_); }

Status FrozenDevice::read_file(DiskOffset offset, MutableBytes into) const {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(file_, into.data() + done, into.size() - done,
                              static_cast<off_t>(offset.raw() + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return fail(
          Code::kDiskFailed,
          fmt::format("block {}: {}", (offset.raw() + done) / kBlockBytes, std::strerror(errno)));
    }
    if (n == 0) {
      // Grown in memory only.
      std::memset(into.data() + done, 0, into.size() - done);
      return {};
    }
    done += static_cast<std::size_t>(n);
  }
  return {};
}

Task<Status> FrozenDevice::read(DiskOffset offset, MutableBytes into) {
  CO_TRY_VOID(check_read(*this, offset, into));
  if (written_.empty()) co_return read_file(offset, into);
  for (std::size_t at = 0; at < into.size(); at += kBlockBytes) {
    const MutableBytes block = into.subspan(at, kBlockBytes);
    const auto written = written_.find((offset.raw() + at) / kBlockBytes);
    if (written != written_.end()) {
      std::memcpy(block.data(), written->second.data(), kBlockBytes);
    } else {
      CO_TRY_VOID(read_file(DiskOffset(offset.raw() + at), block));
    }
  }
  co_return Status();
}

Task<Status> FrozenDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  CO_TRY_VOID(check_write(*this, offset, parts));
  std::uint64_t block = offset.raw() / kBlockBytes;
  for (const Bytes& part : parts) {
    for (std::size_t at = 0; at < part.size(); at += kBlockBytes, ++block) {
      written_.insert_or_assign(block, Buffer::copy_of(part.subspan(at, kBlockBytes)));
    }
  }
  co_return Status();
}

Task<Status> FrozenDevice::grow(ByteCount size) {
  size_ = std::max(size_, size);
  co_return Status();
}

}  // namespace cairn::chunkserver::inspect
