#include "admin/commands/commands.h"

namespace cairn::admin {

Outcome<Output> version(const Globals& globals) {
  const std::string number = CAIRN_VERSION;
  if (globals.json) {
    return Output{.text = "{\"schema\": 1, \"version\": \"" + number + "\"}\n", .warnings = {}};
  }
  return Output{.text = "cairn " + number + "\n", .warnings = {}};
}

}  // namespace cairn::admin
