// HealthReport: the status of a cluster and, in sentences, why it is not healthy. Pure.
#pragma once

#include "common/base/time.h"
#include "mds/master/chunk_census.h"
#include "mds/master/cs_board.h"
#include "mds/master/repairs.h"
#include "proto/admin.pb.h"

namespace cairn::mds::service {

// Sets status (healthy, degraded, failure) and reasons. `census` may be nullptr: then only the CSs
// are judged.
void report_health(const master::CsBoard& board, const master::ChunkCensus::Count* census,
                   const master::Repairs::Progress& repairs, Instant now, bool in_grace,
                   pb::StatReply* reply);

}  // namespace cairn::mds::service
