#include "mds/replication/segment_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace cairn::mds::replication {

std::unexpected<Error> log_disk_error(const char* what, const std::filesystem::path& path) {
  const int error = errno;
  const Code code = error == ENOSPC || error == EDQUOT ? Code::kNoSpace : Code::kDiskFailed;
  return fail(code, fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(error)));
}

SegmentWriter::SegmentWriter(SegmentWriter&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      zero_ahead_bytes_(other.zero_ahead_bytes_),
      end_(other.end_),
      zeroed_to_(other.zeroed_to_),
      tail_(std::move(other.tail_)) {}

SegmentWriter& SegmentWriter::operator=(SegmentWriter&& other) noexcept {
  if (this == &other) return *this;
  if (fd_ >= 0) ::close(fd_);
  fd_ = std::exchange(other.fd_, -1);
  path_ = std::move(other.path_);
  zero_ahead_bytes_ = other.zero_ahead_bytes_;
  end_ = other.end_;
  zeroed_to_ = other.zeroed_to_;
  tail_ = std::move(other.tail_);
  return *this;
}

SegmentWriter::~SegmentWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status SegmentWriter::open(const std::filesystem::path& path, int flags) {
  path_ = path;
  fd_ = ::open(path.c_str(), flags | O_DIRECT, 0600);
  if (fd_ < 0 && errno == EINVAL) fd_ = ::open(path.c_str(), flags, 0600);
  if (fd_ < 0) return log_disk_error("open", path);
  tail_ = Buffer::zeroed(kBlockBytes);
  return {};
}

Result<SegmentWriter> SegmentWriter::create(const std::filesystem::path& path,
                                            ByteCount zero_ahead_bytes) {
  SegmentWriter writer;
  writer.zero_ahead_bytes_ = align_up(zero_ahead_bytes, kBlockBytes);
  TRY_VOID(writer.open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC));
  return writer;
}

Result<SegmentWriter> SegmentWriter::resume(const std::filesystem::path& path, std::uint64_t end,
                                            bool torn, ByteCount zero_ahead_bytes) {
  SegmentWriter writer;
  writer.zero_ahead_bytes_ = align_up(zero_ahead_bytes, kBlockBytes);
  TRY_VOID(writer.open(path, O_RDWR | O_CLOEXEC));
  if (torn && ::ftruncate(writer.fd_, static_cast<off_t>(end)) != 0) {
    return log_disk_error("cut", path);
  }
  // What was read may still be only in memory when the process before us died in its flush.
  if (::fsync(writer.fd_) != 0) return log_disk_error("flush", path);
  const std::uint64_t block = align_down(end, kBlockBytes);
  if (end != block) {
    const ssize_t got =
        ::pread(writer.fd_, writer.tail_.data(), kBlockBytes, static_cast<off_t>(block));
    if (got < static_cast<ssize_t>(end - block)) return log_disk_error("read", path);
    std::memset(writer.tail_.data() + (end - block), 0, kBlockBytes - (end - block));
  }
  writer.end_ = end;
  writer.zeroed_to_ = block;
  return writer;
}

Status SegmentWriter::append(std::string_view bytes) {
  const std::uint64_t first_block = align_down(end_, kBlockBytes);
  const std::uint64_t new_end = end_ + bytes.size();
  Buffer blocks = Buffer::allocate(align_up(new_end, kBlockBytes) - first_block);
  const std::size_t kept = end_ - first_block;
  std::memcpy(blocks.data(), tail_.data(), kept);
  std::memcpy(blocks.data() + kept, bytes.data(), bytes.size());
  std::memset(blocks.data() + kept + bytes.size(), 0, blocks.size() - kept - bytes.size());
  TRY_VOID(write_blocks(blocks, first_block));
  const std::uint64_t blocks_end = first_block + blocks.size();
  if (blocks_end > zeroed_to_) {
    const Buffer zeros = Buffer::zeroed(zero_ahead_bytes_);
    TRY_VOID(write_blocks(zeros, blocks_end));
    zeroed_to_ = blocks_end + zeros.size();
  }
  if (::fdatasync(fd_) != 0) return log_disk_error("flush", path_);
  end_ = new_end;
  const std::uint64_t tail_block = align_down(end_, kBlockBytes);
  std::memset(tail_.data(), 0, kBlockBytes);
  std::memcpy(tail_.data(), blocks.data() + (tail_block - first_block), end_ - tail_block);
  return {};
}

Status SegmentWriter::write_blocks(const Buffer& blocks, std::uint64_t at) {
  Bytes left = blocks.span();
  while (!left.empty()) {
    const ssize_t written = ::pwrite(fd_, left.data(), left.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return log_disk_error("write", path_);
    left = left.subspan(static_cast<std::size_t>(written));
    at += static_cast<std::uint64_t>(written);
  }
  return {};
}

}  // namespace cairn::mds::replication
