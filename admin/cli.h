// The command line of `cairn`: words -> a command ready to run, or the failure that says what is
// wrong with them. Knows every command and option, also for --help and "did you mean".
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "admin/view/failure.h"

namespace cairn::admin {

using Command = std::function<Outcome<Output>()>;

// `words`: the arguments without the program's name. Help texts come as a command that prints them.
Outcome<Command> parse_command_line(std::vector<std::string> words);

// Commands of the guide that this version does not have.
const std::vector<std::string>& commands_not_built();

}  // namespace cairn::admin
