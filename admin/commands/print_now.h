// For commands that take their time: what they say while they work.
#pragma once

#include <string>

namespace cairn::admin {

// To standard output, at once. A reader that has gone does not stop the work.
void print_now(const std::string& text);

}  // namespace cairn::admin
