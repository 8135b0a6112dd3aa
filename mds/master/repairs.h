// Repairs: brings missing pieces of chunks back: finds them, plans (repair_planner.h), carries out.
// docs/protocols/data-path.md, "Repair".
//
// Promises: what fails is tried again, later and later, and never holds up other chunks: a chunk
//           whose writer does not close it gives up its turn. Nothing is remembered from one reign
//           to the next: the chunk map says what is missing.
// Limits:   RepairLimits, and kSlowMax more that wait for their writer; kPerHolder of one writer
//           wait at a time; kCandidatesMax chunks in memory, the most urgent ones, of those for
//           which something can be done. A scan of the map takes a small part of the time.
// Requires: the loop thread; spawn run() into the task group of the environment; step() about once
//           a second; stop() before the group is joined, co_await links_ended() after.
#pragma once

#include <array>
#include <map>
#include <set>
#include <string>

#include "common/runtime/semaphore.h"
#include "mds/master/chunk_holds.h"
#include "mds/master/cs_board.h"
#include "mds/master/cs_links.h"
#include "mds/master/environment.h"
#include "mds/master/event_writer.h"
#include "mds/master/repair_memory.h"
#include "mds/master/repair_planner.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

class Repairs {
 public:
  static constexpr std::size_t kCandidatesMax = 4096;
  static constexpr std::size_t kPage = 500;
  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kExaminedMax = 128;
  static constexpr unsigned kSlowMax = 16;
  static constexpr unsigned kPerHolder = 2;
  static constexpr Duration kSlowAfter = 1s;
  static constexpr Duration kSilentAfter = 6s;  // the holder was asked twice

  struct Parts {
    const CsBoard& cs_board;
    ChunkHolds& holds;
    EventWriter& events;
  };
  Repairs(Environment env, Parts parts)
      : env_(env),
        parts_(parts),
        links_(env.runtime, env.network, env.settings.credentials),
        wake_(env.runtime) {}

  static Task<void> run(Repairs* self);
  void step(Instant now);
  // Pieces of it may be missing since a moment ago.
  void look_at(const pb::Chunk& chunk);
  // A CS came, went, or has room: what could not be done may be possible.
  void servers_changed();
  // A new process serves the CS: calls to the one before it end, what failed may go well now.
  void restarted(std::uint32_t cs);
  void stop();
  Task<void> links_ended() { return links_.stop(); }

  struct Progress {
    std::uint64_t under_way = 0;
    std::uint64_t waiting = 0;  // chunks with missing pieces, without those under way
    std::uint64_t pieces = 0;   // repaired since the reign began
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    Duration longest_hold{0};
    std::string why;  // they wait, the commonest reason; empty: it is their turn soon
  };
  Progress progress() const;
  // A piece of the chunk is being copied, and nothing is written to it.
  bool copying(ChunkId chunk) const;
  // That piece is being copied to that CS.
  bool copying_to(std::uint32_t cs, ChunkId chunk, unsigned piece) const;

 private:
  enum class Phase : std::uint8_t { kCalling, kHolding, kCopying };
  // Whose fault it is that a repair did not come to its end.
  enum class Fault : std::uint8_t { kNobody, kSilentServer, kHolder, kServer };
  struct Job {
    RepairAction action;
    ChunkHolds::Place place;
    SessionId holder;     // who has the chunk open; none
    std::string address;  // that was called
    Phase phase = Phase::kCalling;
    Instant since;      // of the phase
    bool slow = false;  // it waits for its writer, and does not count
    Fault fault = Fault::kServer;
  };
  // A chunk, with what its file says.
  struct Case {
    RepairRequest request;
    SessionId holder;
  };
  struct Scan {
    std::uint64_t chunks = 0;
    std::uint64_t later = 0;   // of those for which something can be done
    std::uint64_t silent = 0;  // their writer does not close them
    std::array<std::uint64_t, 5> waits{};
    std::string why_no_place;
  };
  struct Burst {
    Instant began;
    Instant active;  // something was under way or to be done
    std::uint64_t pieces = 0;
    std::uint64_t bytes = 0;
    std::uint64_t failures = 0;
    std::string last_failure;
    bool told = false;
  };

  // repairs.cpp
  Task<Status> scan();
  void consider(pb::Chunk chunk, const RepairServers& servers, Scan* seen);
  Result<Case> case_of(pb::Chunk chunk) const;
  RepairServers servers(Instant now) const;
  void add_candidate(const RepairRank& rank, SessionId holder);
  void drop_candidate(ChunkId chunk);
  void start_some();
  bool start_batch();
  std::vector<Case> next_batch();
  bool removal_queued(ChunkId chunk, NodeId cs) const;
  unsigned counted() const;
  std::map<SessionId, unsigned> asked_holders() const;
  void hang_up(const Job& job);
  void tell(Instant now);
  // repair_job.cpp
  void begin(RepairAction action, const Case& of);
  static Task<void> carry_out(Repairs* self, ChunkId chunk);
  Task<Status> attempt(Job* job);
  Task<Status> call_server(Job* job);
  Task<Status> copy(Job* job);
  Task<Result<pb::Chunk>> place(Job* job, pb::Chunk chunk);
  Task<Result<pb::RepairReply>> run_copy(const Job* job, pb::Repair repair);
  Task<Result<pb::Chunk>> finish(Job* job, pb::FinishRepair finish);
  static Task<void> tell_current(Repairs* self, pb::Chunk chunk, std::uint64_t epoch);
  static Task<void> seal_one(Repairs* self, std::uint32_t cs, std::string seal);
  void ended(ChunkId chunk, const Status& done);
  void enter(Job* job, Phase phase);

  Environment env_;
  Parts parts_;
  CsLinks links_;
  runtime::Signal wake_;
  RepairMemory memory_;
  std::map<ChunkId, Job> jobs_;
  struct Known {
    RepairRank rank;
    SessionId holder;
  };
  std::set<RepairRank> candidates_;
  std::map<ChunkId, Known> known_;  // of the candidates, when they were looked at
  bool overflowed_ = false;         // some candidates were left out
  Instant next_scan_;
  Instant scan_ended_;
  Duration scan_took_{0};
  Scan last_scan_;
  Progress done_;
  std::optional<Burst> burst_;
};

}  // namespace cairn::mds::master
