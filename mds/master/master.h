// Master: the brain of a cluster for one reign: the memory and loops around the tables. Made when
// this MDS was elected, stopped when it was deposed; the next one rebuilds what is only in memory.
//
// Owns:     sessions, leases, CS liveness, recovery, purging, events; the channels of clients it
//           accepted.
// Promises: no answer leaves unless this MDS surely was the master after it read the tables. The
//           same object serves the daemon and the simulator.
// Requires: the loop thread; start() first; co_await stop() before it dies. `tables` and
//           `commands` outlive it. The tables have everything of the reigns before.
// Errors:   start(): kCorrupt, kDiskFailed (the tables cannot be trusted).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/arrival_set.h"
#include "mds/master/chunk_census.h"
#include "mds/master/client_service.h"
#include "mds/master/conversions.h"
#include "mds/master/event_writer.h"
#include "mds/master/scrubs.h"
#include "mds/replication/replicated_log.h"

namespace cairn::mds::master {

class Master {
 public:
  struct Options {
    Settings settings;
  };
  Master(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
         const kv::Reader& tables, replication::ReplicatedLog& commands, Options options);
  ~Master();

  // Reads the tables and begins its loops. Also after an error: stop().
  Status start();
  // After start(): the tables have a cluster. To be awaited once, before the first request.
  Task<Status> ready();
  bool serving() const { return ready_ && !stopping_; }
  // A client connected (the listener's OnAccept).
  void accept(std::unique_ptr<net::Stream> stream);
  // This MDS was deposed: from now on nothing is proposed or answered. stop() follows.
  void depose() { commands_.close(); }
  // Closes the channels and ends the loops: within the time of one call to a chunk server.
  Task<void> stop();

  // For the services of the control plane.
  const Environment& environment() const { return env_; }
  CsBoard& cs_board() { return cs_board_; }
  const SessionBoard& sessions() const { return sessions_; }
  const LeaseBoard& leases() const { return leases_; }
  const Recovery& recovery() const { return recovery_; }
  ChunkCensus& census() { return census_; }
  EventWriter& events() { return events_; }
  Scrubs& scrubs() { return scrubs_; }
  Repairs& repairs() { return repairs_; }
  Conversions& conversions() { return conversions_; }
  Instant started() const { return started_; }
  // Until then sessions of before the restart may hold what the master does not know.
  bool in_grace() const { return grace_; }

 private:
  Status load();
  static Task<void> make_cluster(Master* self);
  static Task<void> serve_client(Master* self, std::unique_ptr<net::Stream> stream);
  static Task<void> run_background(Master* self);
  void step(Instant now);
  void end_grace_if_known();
  void cs_failed(const CsEntry& entry);
  void cs_changed(const CsBoard::Change& change, Instant now);
  void tell_cluster_state(Instant now);
  void session_ended(const Session& gone, const std::string& reason);
  bool may_purge(InodeId inode) const;

  runtime::Runtime& runtime_;
  const kv::Reader& tables_;
  const Options options_;
  bool ready_ = false;
  bool stopping_ = false;
  bool grace_ = false;
  Instant started_;
  Instant last_step_;

  runtime::TaskGroup tasks_;  // loops and work for clients
  runtime::TaskGroup doors_;  // one task per client channel
  runtime::Completion<Status> made_;
  ArrivalSet<Connection*> open_;
  ArrivalSet<net::Stream*> greeting_;  // clients that have not said who they are
  Commands commands_;
  Environment env_;
  CsBoard cs_board_;
  std::optional<CsBoard::Counts> told_;
  CsLinks links_;
  Recovery recovery_;
  SessionBoard sessions_;
  Pins pins_;
  LeaseBoard leases_;
  EventWriter events_;
  SessionEnder ender_;
  Purger purger_;
  ChunkHolds holds_;
  Repairs repairs_;
  ChunkCensus census_;
  Scrubs scrubs_;
  Conversions conversions_;
  ClientService clients_;
};

}  // namespace cairn::mds::master
