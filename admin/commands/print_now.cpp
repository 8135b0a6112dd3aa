#include "admin/commands/print_now.h"

#include <cstdio>

namespace cairn::admin {

void print_now(const std::string& text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stdout));
  static_cast<void>(std::fflush(stdout));
}

}  // namespace cairn::admin
