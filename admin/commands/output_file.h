// OutputFile: a new file that is there under its name only when it is whole.
//
// Promises: commit() never replaces a file. Until then it is PATH.unfinished, which an interrupted
//           run may leave; it is removed when this dies without a commit.
// Errors:   kExists, kNoSpace, kDiskFailed, ...: those of common/cluster/durable_file.h.
#pragma once

#include <string>

#include "common/base/buffer.h"
#include "common/base/result.h"

namespace cairn::admin {

class OutputFile {
 public:
  // `replace`: commit() may replace a file.
  static Result<OutputFile> create(const std::string& path, bool replace = false);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  Status put(std::uint64_t at, Bytes bytes);
  // At least so long; what nobody wrote reads as zeros.
  Status grow(std::uint64_t bytes);
  Status commit();

 private:
  OutputFile(int file, std::string path, bool replace)
      : file_(file), path_(std::move(path)), replace_(replace) {}
  int file_;
  std::string path_;
  bool replace_;
  std::uint64_t end_ = 0;
};

// A directory for such files; one that is there is taken.
Status make_output_directory(const std::string& path);
// What was written to the filesystem below is on its disk.
Status sync_output(const std::string& directory);

}  // namespace cairn::admin
