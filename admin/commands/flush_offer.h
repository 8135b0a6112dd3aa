// The ten-second check of flushes that make-cs offers, of the places a chunk server will write to.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "admin/commands/cs_commands.h"
#include "common/cluster/cs_repository.h"

namespace cairn::admin {

struct FlushOffer {
  std::optional<cluster::FlushCheck> result;  // nullopt: not checked
  std::vector<std::string> warnings;
  std::string text;
};

// Asks on a terminal. `journal` empty: in the repository. Makes nothing that stays.
FlushOffer offer_flush_check(FlushCheckWish wish, const std::string& repository,
                             const std::string& journal,
                             std::chrono::seconds duration = std::chrono::seconds(10));

}  // namespace cairn::admin
