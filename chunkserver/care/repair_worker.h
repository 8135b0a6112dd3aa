// RepairWorker: brings a missing piece of this chunk server up to date from the chunk's other
// pieces, as the master asks. docs/protocols/data-path.md, "Repair".
//
// Promises: when it answers, the piece has what the other pieces say, durably, and takes no request
//           of the past. Blocks outside of what it was asked for stay as they are, but for those
//           that the piece had undecided. Whatever ends it early, the next repair of the piece
//           finds out by itself which blocks are not to be trusted. Any M sources will do, block by
//           block. An op number is never used twice.
// Limits:   kRepairsAtOnce; one of a piece; kRepairStepsAtOnce steps of a repair in memory.
// Requires: the loop thread. Nothing changes in the chunk meanwhile. interrupt(), then every
//           repair() ended, then stop(), before it dies; everything it is given outlives it.
// Errors:   kInvalidArgument, kBusy (that piece, or enough others), kPieceMissing (not `whole`, and
//           there is none), kStaleVersion, kStaleEpoch (the piece has seen newer), kTooFewPieces,
//           kRefusedForSafety (somebody else settled what it was doing), kCancelled, those of the
//           store.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

#include "chunkserver/care/peer_reader.h"
#include "chunkserver/care/repair_plan.h"
#include "chunkserver/store/piece_store.h"
#include "common/observe/log.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::care {

inline constexpr std::size_t kRepairsAtOnce = 2;
// One is read while the one before it is stored.
inline constexpr std::size_t kRepairStepsAtOnce = 2;

// Since the start.
struct RepairFigures {
  std::uint64_t repaired = 0;
  std::uint64_t failed = 0;
  ByteCount bytes_read = 0;
  ByteCount bytes_written = 0;
};

class RepairWorker {
 public:
  RepairWorker(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials,
               store::PieceStore& store, observe::Log& log, std::uint32_t cs_id);
  RepairWorker(const RepairWorker&) = delete;
  RepairWorker& operator=(const RepairWorker&) = delete;

  Task<Result<pb::RepairReply>> repair(pb::Repair request);
  // Repairs end soon, with kCancelled, now and from now on.
  void interrupt();
  Task<void> stop();
  const RepairFigures& figures() const { return figures_; }
  std::size_t connections() const { return peers_.connections(); }

 private:
  struct Run;
  // The piece as it is before anything is copied.
  struct Look {
    bool exists = false;
    OpSeq first_seq;                           // all numbers from here on are unused
    std::vector<store::BlockRange> undecided;  // blocks of ops that it may or may not keep
  };

  Task<Result<pb::RepairReply>> carry_out(Run* run);
  Task<Result<Look>> look(const RepairPlan* plan);
  Task<Status> begin(Run* run, bool create);
  Task<void> copy(Run* run);
  Task<Status> copy_step(Run* run, std::vector<store::BlockRange> step);
  Task<Status> gather(Run* run, StepContent* content);
  Task<void> read_source(Run* run, const RepairSource* source, StepContent* content);
  Task<Status> put(Run* run, StepContent::Built built);
  Task<Status> finish(Run* run);
  // Until no connection is left.
  Task<void> sweep();
  void note(const Run& run, const Result<pb::RepairReply>& reply);
  Status halted() const;

  runtime::Runtime& runtime_;
  store::PieceStore& store_;
  observe::Log& log_;
  const std::uint32_t cs_id_;
  PeerReader peers_;
  std::set<PieceId> running_;
  bool stopping_ = false;
  bool sweeping_ = false;
  std::optional<runtime::Completion<bool>> sleeper_;
  RepairFigures figures_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::care
