// Failure: what the person at the terminal reads when a command did not do its work, and the exit
// code that scripts see. Pattern: what failed, why, the state now, the next step; one short
// sentence each.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace cairn::admin {

struct Failure {
  Code code = Code::kInternal;
  std::string what;  // "cannot add a chunk server"
  std::string why;
  std::string state;  // empty: "Nothing was changed."
  std::string next;   // empty: the next step of the code's help page
};

// What a command gives back: text for stdout, warnings for stderr.
struct Output {
  std::string text;
  std::vector<std::string> warnings;
  int exit_code = 0;
};
template <class T>
using Outcome = std::expected<T, Failure>;

std::unexpected<Failure> failure(Failure value);
// From the error of a lower layer.
std::unexpected<Failure> failure(std::string what, const Error& error, std::string state = {},
                                 std::string next = {});

// "error CAIRN-305: cannot ...\n  why\n  state\n  next\n".
std::string to_text(const Failure& value);

// 1 failed, 2 wrong usage, 3 not found, 4 refused for safety, 5 not reachable, 6 not authenticated,
// 7 timed out, 130 interrupted.
int exit_code(Code code);

}  // namespace cairn::admin
