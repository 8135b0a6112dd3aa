#include "admin/hwflush/counter_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/base/check.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin::hwflush {
namespace {

constexpr ByteCount kPartBytes = 1_MiB;

Result<FileDescriptor> open_file(const std::string& path, int flags, WriteMode mode) {
  if (mode == WriteMode::kDirect) flags |= O_DIRECT;
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (file.get() >= 0) return file;
  if (errno == EINVAL && mode == WriteMode::kDirect) {
    return fail(Code::kUnsupported,
                "the filesystem of " + path + " does not do O_DIRECT; take --fsync");
  }
  return fail(cluster::system_error(errno, "open", path));
}

Status write_zeros(int fd, ByteCount size, const std::string& path) {
  const Buffer zeros = Buffer::zeroed(std::min(kPartBytes, size));
  for (ByteCount at = 0; at < size; at += kPartBytes) {
    const ByteCount length = std::min(kPartBytes, size - at);
    TRY_VOID(write_all_at(fd, zeros.span().first(length), at, path));
  }
  return {};
}

Status sync_parent(const std::string& path) {
  const std::string parent = path.substr(0, path.find_last_of('/'));
  const FileDescriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return fail(cluster::system_error(errno, "open", parent));
  if (::fsync(directory.get()) != 0) return fail(cluster::system_error(errno, "fsync", parent));
  return {};
}

// Whole blocks, two or more: what open() leaves behind. 0: there is no such file.
Result<ByteCount> usable_size(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return ByteCount{0};
    return fail(cluster::system_error(errno, "look at", path));
  }
  const auto size = static_cast<ByteCount>(status.st_size);
  const bool usable = S_ISREG(status.st_mode) && size % kRecordBytes == 0 &&
                      size >= kRecordsPerFileMin * kRecordBytes;
  return usable ? size : ByteCount{0};
}

}  // namespace

Result<std::uint64_t> read_newest_counter(const std::string& path, DirectoryId directory,
                                          std::uint32_t thread) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::uint64_t{0};
    return fail(cluster::system_error(errno, "open", path));
  }
  Buffer part = Buffer::allocate(kPartBytes);
  std::uint64_t newest = 0;
  for (ByteCount at = 0;; at += kPartBytes) {
    TRY(const std::size_t got, read_all_at(file.get(), part.span(), at, path));
    newest = std::max(newest, newest_counter(part.span().first(got), directory, thread));
    if (got < kPartBytes) return newest;
  }
}

CounterFile::CounterFile(Options options, FileDescriptor file, ByteCount size, std::uint64_t newest)
    : options_(std::move(options)),
      file_(std::move(file)),
      records_(size / kRecordBytes),
      newest_(newest),
      block_(Buffer::zeroed(kRecordBytes)) {
  CHECK_GE(records_, kRecordsPerFileMin);
}

Result<CounterFile> CounterFile::open(Options options, std::uint64_t newest) {
  const std::string path = options.path;
  TRY(const ByteCount there, usable_size(path));
  if (there != 0) {
    TRY(FileDescriptor file, open_file(path, O_RDWR, options.mode));
    return CounterFile(std::move(options), std::move(file), there, newest);
  }
  const ByteCount size = options.size;
  const std::string temporary = path + ".new";
  TRY(FileDescriptor file, open_file(temporary, O_RDWR | O_CREAT | O_TRUNC, options.mode));
  TRY_VOID(write_zeros(file.get(), size, temporary));
  CounterFile made(std::move(options), std::move(file), size, newest);
  if (newest != 0) {
    TRY_VOID(made.write(newest));
  }
  if (::fsync(made.file_.get()) != 0) {
    return fail(cluster::system_error(errno, "fsync", temporary));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return fail(cluster::system_error(errno, "rename to", path));
  }
  TRY_VOID(sync_parent(path));
  return made;
}

Status CounterFile::write(std::uint64_t counter) {
  encode_record({.directory = options_.directory, .thread = options_.thread, .counter = counter},
                block_.span());
  return write_all_at(file_.get(), block_.span(), counter % records_ * kRecordBytes, options_.path);
}

Status CounterFile::flush() {
  const bool direct = options_.mode == WriteMode::kDirect;
  const int result = direct ? ::fdatasync(file_.get()) : ::fsync(file_.get());
  if (result == 0) return {};
  return fail(cluster::system_error(errno, direct ? "fdatasync" : "fsync", options_.path));
}

Result<std::uint64_t> CounterFile::next() {
  TRY_VOID(write(newest_ + 1));
  TRY_VOID(flush());
  return ++newest_;
}

}  // namespace cairn::admin::hwflush
