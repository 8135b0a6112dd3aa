// Small files that must not be lost or seen half written: identity, keys, address lists.
//
// Promises: write_file_durably() replaces the whole file at once and returns when it and its name
//           are on the disk; a crash leaves the old file or the new one. create_file_durably() does
//           the same but never replaces: of several writers one wins, the others get kExists.
// Errors:   kNotFound, kAccessDenied, kNoSpace, kReadOnly, else kDiskFailed; the message names the
//           path.
#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

#include "common/base/result.h"

namespace cairn::cluster {

inline constexpr std::size_t kSmallFileBytesMax = 1 << 20;

// Error: kTooBig past kSmallFileBytesMax.
Result<std::string> read_small_file(const std::string& path);
Status write_file_durably(const std::string& path, std::string_view content, mode_t mode);
Status create_file_durably(const std::string& path, std::string_view content, mode_t mode);
// Gone after a crash too. Nothing to do when it is gone already.
Status remove_file_durably(const std::string& path);
// Like mkdir -p. Directories it makes are durable when it returns.
Status make_directories(const std::string& path, mode_t mode);

// The error of a system call that just failed: "open /x/y: Permission denied".
Error system_error(int error_number, std::string_view what, const std::string& path);

}  // namespace cairn::cluster
