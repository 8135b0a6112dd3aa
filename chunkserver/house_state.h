// The parts of what a chunk server tells through its control door.
#pragma once

#include <string>

#include "chunkserver/store/piece_store.h"
#include "common/cluster/control_protocol.h"
#include "common/cluster/cs_repository.h"

namespace cairn::chunkserver {

cairn::cluster::control::Json identity_state(const std::string& directory,
                                             const std::string& cluster, std::uint32_t cs_id,
                                             const std::string& version);
void put_configuration(const cairn::cluster::CsRepository& repository,
                       cairn::cluster::control::Json* into);
void put_store(const store::StoreStatistics& statistics, cairn::cluster::control::Json* into);

}  // namespace cairn::chunkserver
