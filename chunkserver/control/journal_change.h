// Moving the journal of a store: add, destroy, resize and move are switches to another ring
// (docs/protocols/chunk-store.md, "Moving the ring"), one or two of them.
//
// Promises: after a failed or interrupted change the store has the journal it had before, or one in
//           the repository; never none, and no write is lost. Directories are taken before they are
//           used and given back after.
// Errors:   kBusy (another's directory), kNoSpace, kJournalFailed and those of switch_ring(). Where
//           the journal is then the store's statistics say.
#pragma once

#include <string>
#include <vector>

#include "chunkserver/store/piece_store.h"
#include "common/cluster/control_protocol.h"

namespace cairn::chunkserver::control {

// The switches that lead from one to the other; none: it is so already. Two journals cannot lie in
// one directory: a resize there goes through the repository. Pure.
std::vector<store::RingPlan> journal_steps(const store::RingPlan& now,
                                           const store::RingPlan& wanted);

std::string describe(const store::RingPlan& plan);  // "a journal of 2048 MB at /ssd/cs1"

// How directories outside the repository are taken and given back (RingFiles).
struct JournalPlaces {
  std::function<Status(const std::string& directory, ByteCount bytes)> take;
  std::function<Status(const std::string& directory)> release;
};

// Requires: the store and `places` outlive it; one at a time.
Task<Status> change_journal(store::PieceStore* store, const JournalPlaces* places,
                            store::RingPlan wanted);

store::RingPlan ring_of(const store::StoreStatistics& statistics);

}  // namespace cairn::chunkserver::control
