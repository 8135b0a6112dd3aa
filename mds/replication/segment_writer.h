// SegmentWriter: appends to one segment file in whole 4 KiB blocks, past the page cache.
//
// Buffered small writes into pages that were zeroed ahead in large folios make every flush write
// the whole
// folio (up to 1 MiB for 200 bytes, measured on ext4, Linux 6.18). So the tail block is kept in
// memory and
// written again, with the same bytes in front, by each append: a torn block keeps its old records.
//
// Owns:     the descriptor.
// Promises: append() ends after the bytes are durable.
// Requires: one thread.
// Errors:   kDiskFailed, kNoSpace: the caller fences. O_DIRECT is dropped where the filesystem
//           refuses it (tmpfs).
#pragma once

#include <filesystem>
#include <string_view>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::mds::replication {

class SegmentWriter {
 public:
  SegmentWriter() = default;
  SegmentWriter(SegmentWriter&& other) noexcept;
  SegmentWriter& operator=(SegmentWriter&& other) noexcept;
  ~SegmentWriter();

  // A new, empty file. The caller makes its name durable.
  static Result<SegmentWriter> create(const std::filesystem::path& path,
                                      ByteCount zero_ahead_bytes);
  // Goes on at `end`; everything in front is made durable first, everything behind is cut off if
  // `torn`.
  static Result<SegmentWriter> resume(const std::filesystem::path& path, std::uint64_t end,
                                      bool torn, ByteCount zero_ahead_bytes);

  Status append(std::string_view bytes);
  bool is_open() const { return fd_ >= 0; }

 private:
  Status open(const std::filesystem::path& path, int flags);
  Status write_blocks(const Buffer& blocks, std::uint64_t at);

  int fd_ = -1;
  std::filesystem::path path_;
  ByteCount zero_ahead_bytes_ = 0;
  std::uint64_t end_ = 0;        // of the records
  std::uint64_t zeroed_to_ = 0;  // block-aligned; blocks up to here were written once
  Buffer tail_;                  // the block that holds `end_`, as far as it is filled
};

// The error of the last system call. Shared by what touches the log's directory.
std::unexpected<Error> log_disk_error(const char* what, const std::filesystem::path& path);

}  // namespace cairn::mds::replication
