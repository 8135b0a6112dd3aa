#include "chunkserver/house_state.h"

#include <unistd.h>

namespace cairn::chunkserver {

using Json = cairn::cluster::control::Json;

Json identity_state(const std::string& directory, const std::string& cluster, std::uint32_t cs_id,
                    const std::string& version) {
  return {{"repository", directory},
          {"cluster", cluster},
          {"cs_id", cs_id},
          {"version", version},
          {"pid", ::getpid()}};
}

void put_configuration(const cairn::cluster::CsRepository& repository, Json* into) {
  (*into)["tier"] = repository.tier;
  (*into)["checksums"] = repository.checksums;
  (*into)["tune"] = cairn::cluster::tune_word(repository.tune);
  if (repository.flush_check.has_value()) {
    (*into)["flush_check"] = {{"suspicious", repository.flush_check->suspicious},
                              {"flushes_per_second", repository.flush_check->flushes_per_second}};
  }
}

void put_store(const store::StoreStatistics& statistics, Json* into) {
  (*into)["journal"] = {{"on", statistics.journal},
                        {"directory", statistics.journal_directory},
                        {"bytes", statistics.journal_bytes},
                        {"used_bytes", statistics.journal_used_bytes},
                        {"backlog_bytes", statistics.journal_backlog_bytes},
                        {"clean", statistics.clean}};
  (*into)["space_bytes"] = statistics.space_bytes;
  (*into)["free_bytes"] = statistics.free_bytes;
  (*into)["used_bytes"] = statistics.used_bytes;
  (*into)["pieces"] = statistics.pieces;
  (*into)["checksum_errors"] = statistics.checksum_errors;
  (*into)["read_errors"] = statistics.read_errors;
  (*into)["damaged_blocks"] = statistics.damaged_blocks;
  (*into)["healed_blocks"] = statistics.healed_blocks;
}

}  // namespace cairn::chunkserver
