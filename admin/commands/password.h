// Passwords come from the terminal, without echo, or from standard input; never from arguments.
//
// Errors: kInvalidArgument (empty, two that differ, no terminal), kCancelled (Ctrl-C).
#pragma once

#include <string>

#include "admin/commands/commands.h"
#include "common/base/result.h"

namespace cairn::admin {

enum class Repeat { kOnce, kTwice };

// `from` is not kNowhere. From the terminal: asks, and with kTwice asks again. From standard input:
// its first line.
Result<std::string> read_password(PasswordFrom from, Repeat repeat);

}  // namespace cairn::admin
