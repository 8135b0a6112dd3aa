// Programs of the base system, run with their words as they are: never through a shell.
//
// Promises: found in /usr/sbin, /usr/bin, /sbin and /bin whatever $PATH says; English output; no
//           descriptors of ours but the standard ones; input comes from `input`, not the terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace cairn::admin {

struct ProgramResult {
  int exit_code = 0;   // 128 + the signal that ended it
  std::string output;  // at most kProgramOutputBytesMax, as `errors`
  std::string errors;
};
inline constexpr std::size_t kProgramOutputBytesMax = 64 * 1024;

// Error: kNotFound when it is not installed.
Result<std::string> find_program(const std::string& name);

// `words`: the program's name and its arguments. Waits for its end.
// Errors:   kNotFound, kInternal (it cannot be started).
Result<ProgramResult> run_program(std::vector<std::string> words, std::string_view input = {});

// Any exit code but 0 is kDiskFailed; the message has what the program said.
Result<std::string> run_checked(const std::vector<std::string>& words, std::string_view input = {});

}  // namespace cairn::admin
