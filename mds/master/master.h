// Master: the brain of a cluster: its tables behind the log, and the memory and loops around them.
//
// Owns:     SingleLog, Applier, sessions, leases, CS liveness, recovery, purging, events; the
//           channels of clients it accepted.
// Promises: the same object serves the daemon and the simulator: it knows only Runtime, Network,
//           Kv, LogStore.
// Requires: the loop thread; start() first; co_await stop() before it dies. `tables` and `store`
//           outlive it.
// Errors:   start(): kCorrupt, kDiskFailed (log or tables cannot be trusted).
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "mds/master/chunk_census.h"
#include "mds/master/client_service.h"
#include "mds/master/event_writer.h"
#include "mds/replication/applier.h"
#include "mds/replication/replicated_log.h"

namespace cairn::mds::master {

class Master {
 public:
  struct Options {
    Settings settings;
    replication::Applier::Options tables;
    // The log or the tables failed: nothing more can be promised, the process must end.
    std::function<void(const Error&)> on_failure;
  };
  Master(runtime::Runtime& runtime, net::Network& network, observe::Log& log, kv::Kv& tables,
         replication::LogStore& store, Options options);
  ~Master();

  // Replays the log and begins its loops. Also after an error: stop().
  Status start();
  // After start(): the tables have a cluster. To be awaited once, before the first request.
  Task<Status> ready();
  // A client connected (the listener's OnAccept).
  void accept(std::unique_ptr<net::Stream> stream);
  // Closes the channels, finishes what is in the log's queue, flushes the tables.
  Task<Status> stop();

  // For the services of the control plane.
  const Environment& environment() const { return env_; }
  CsBoard& cs_board() { return cs_board_; }
  const SessionBoard& sessions() const { return sessions_; }
  const LeaseBoard& leases() const { return leases_; }
  const Recovery& recovery() const { return recovery_; }
  ChunkCensus& census() { return census_; }
  EventWriter& events() { return events_; }
  Slot applied_slot() const { return applier_.applied_slot(); }
  replication::SingleLog::Statistics log_statistics() const { return log_.statistics(); }
  // Share of time the log was busy, and commands a second, over the last 20 s.
  double commit_share() const;
  double commits_per_s() const;
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
  void cs_changed(const CsBoard::Change& change, Instant now);
  bool may_purge(InodeId inode) const;

  runtime::Runtime& runtime_;
  kv::Kv& tables_;
  replication::LogStore& store_;
  const Options options_;
  bool stopping_ = false;
  bool grace_ = false;
  Instant started_;
  Instant last_step_;

  runtime::TaskGroup tasks_;  // loops and work for clients
  runtime::TaskGroup doors_;  // one task per client channel
  runtime::Completion<Status> made_;
  std::set<Connection*> open_;
  replication::Applier applier_;
  replication::SingleLog log_;
  Commands commands_;
  Environment env_;
  CsBoard cs_board_;
  CsLinks links_;
  Recovery recovery_;
  SessionBoard sessions_;
  Pins pins_;
  LeaseBoard leases_;
  EventWriter events_;
  SessionEnder ender_;
  Purger purger_;
  ChunkCensus census_;
  ClientService clients_;
  RateWindow<2> log_rates_;  // busy ns, commands
};

}  // namespace cairn::mds::master
