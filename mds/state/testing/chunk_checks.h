// What must be right after each step of a random program over the chunk map: the tables agree with
// the model, and keep the promises that hold whatever the model says. For tests.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "mds/state/testing/chunk_model.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state::testing {

// What may change pieces in a way of its own.
enum class Act { kOpen, kRepair, kSwap, kOther };

std::map<std::uint64_t, pb::Chunk> stored_chunks(const Cluster& c);
// Chunks, the queues of removals, files and what is to be converted.
void expect_as_modelled(const Cluster& c, const ChunkModel& model,
                        const std::vector<std::uint32_t>& servers,
                        const std::map<std::uint64_t, pb::Chunk>& stored);
// The same chunk before and after one step.
void expect_promises(Act act, const pb::Chunk& before, const pb::Chunk& after);

}  // namespace cairn::mds::state::testing
