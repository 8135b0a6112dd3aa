// CounterFile: the file of one thread on the device under test.
//
// Promises: next() returns when the next counter is written and the device said that it is flushed.
//           The file is written whole and flushed before its first counter, so that later writes
//           change no metadata; making it anew keeps the newest counter at every moment.
// Requires: one thread at a time.
// Errors:   as cluster::system_error, naming the file; kUnsupported where O_DIRECT is not possible.
#pragma once

#include <cstdint>
#include <string>

#include "admin/drive/file_descriptor.h"
#include "admin/hwflush/record.h"
#include "common/base/buffer.h"
#include "common/base/result.h"

namespace cairn::admin::hwflush {

enum class WriteMode {
  kDirect,  // O_DIRECT and fdatasync: past the page cache
  kFsync,   // through the page cache, and fsync
};

// The newest counter in a file; 0 when there is no such file or none in it.
Result<std::uint64_t> read_newest_counter(const std::string& path, DirectoryId directory,
                                          std::uint32_t thread);

class CounterFile {
 public:
  struct Options {
    std::string path;
    DirectoryId directory;
    std::uint32_t thread = 0;
    ByteCount size = 0;  // of a new file: a multiple of kRecordBytes, two of them or more
    WriteMode mode = WriteMode::kDirect;
  };
  // Goes on after `newest`, the counter that read_newest_counter() found.
  static Result<CounterFile> open(Options options, std::uint64_t newest);

  // The counter it wrote.
  Result<std::uint64_t> next();
  std::uint64_t newest() const { return newest_; }

 private:
  CounterFile(Options options, FileDescriptor file, ByteCount size, std::uint64_t newest);
  Status write(std::uint64_t counter);
  Status flush();

  Options options_;
  FileDescriptor file_;
  ByteCount records_;
  std::uint64_t newest_;
  Buffer block_;
};

}  // namespace cairn::admin::hwflush
