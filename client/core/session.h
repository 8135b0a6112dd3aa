// Session: one mount's life with the master: finds it, opens or resumes the session, keeps it
// alive, carries requests, brings recalls and holds.
//
// Owns:     the channel to the master, the numbers of mutations.
// Promises: a mutation is done exactly once, over lost connections, failovers and restarts of the
//           MDS (same seq until answered); reads are repeated until answered; call() ends at its
//           deadline. After a lost connection it asks all MDS it knows for ever, until stop(). An
//           MDS that is silent while a request waits costs 0.9 s until the others are asked; it is
//           left when one of them is the master, or when it is silent for 5 s.
//           Leases count only from what a serving master answered.
// Requires: the loop of `runtime`; start() first; co_await stop() before it dies.
// Limits:   half of limits::kSessionRequestsInFlightMax mutations at a time; more wait.
// Errors:   kTimeout (deadline), kSessionGone (a mutation whose outcome nobody can tell any more),
//           kCancelled (stop()), or what the master answered.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "client/core/event.h"
#include "client/core/file_system.h"
#include "client/core/master_finder.h"
#include "client/core/master_list.h"
#include "common/net/channel.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"
#include "proto/mds_client.pb.h"

namespace cairn::client {

class Session {
 public:
  // What the session tells the mount. None of these may suspend.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_recall(pb::RecallLease recall) = 0;
    // The master wants to repair a chunk that is open here.
    virtual void on_hold(pb::HoldChunk hold) = 0;
    // Everything held now, for a master that forgot it.
    virtual pb::Reclaim held() const = 0;
    // The session ended: every lease is void. A new session follows.
    virtual void on_session_gone() = 0;
    virtual pb::KeepAlive statistics() const = 0;
  };

  Session(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
          const Options& options, Owner& owner);
  ~Session();

  // Connects and opens the session. Errors: kUnavailable, kTimeout, kNotAuthenticated,
  // kWrongCluster, kCancelled (stop() meanwhile).
  Task<Status> start(Deadline deadline);
  // Says good-bye when `clean`; ends every call under way with kCancelled.
  Task<void> stop(bool clean, Deadline deadline);

  Task<Result<pb::ClientReply>> call(pb::ClientRequest request, Deadline deadline);
  // At most one attempt reaches the master: for requests that must not be repeated.
  Task<Status> call_once(pb::ClientRequest request, Deadline deadline);

  // True while leases may be trusted by the local clock.
  bool valid() const { return session_ != 0 && runtime_.now() < valid_until_; }
  // False: call_once() would be in vain.
  bool connected() const { return channel_ != nullptr && channel_->is_open(); }
  // Resumes when valid() may have changed.
  Task<bool> wait_change(Deadline deadline) { return changed_.wait_until(deadline); }
  // Grows with each new session: what was granted under an older one is void.
  std::uint64_t generation() const { return generation_; }
  InodeId root() const { return root_; }
  Duration lease() const { return lease_; }
  bool stopping() const { return stopping_; }

 private:
  using ChannelPtr = std::shared_ptr<net::Channel>;
  struct Mutation {
    std::uint64_t seq = 0;
    std::uint64_t generation = 0;
    unsigned attempts = 0;
  };

  static Task<Result<net::Payload>> serve(Session* self, std::uint16_t op, net::Payload request);
  Task<void> run();
  Task<bool> adopt(ChannelPtr channel);
  Task<ChannelPtr> serve_on(ChannelPtr channel);
  void asked_in_vain(const net::Address& at, const Error& error);
  std::optional<Error> fatal_refusal() const;
  Error refusal() const;
  Task<Status> open(ChannelPtr channel);
  Task<Status> open_new_or_resume(ChannelPtr channel, std::uint64_t resume);
  Task<Status> reclaim(ChannelPtr channel, bool must);
  Task<void> retire(ChannelPtr channel);
  Task<void> keep_alive();
  bool wants_probe() const;
  Task<void> probe(ChannelPtr channel);
  void notify();
  Task<void> end_dead_sessions();
  Task<bool> end_dead_sessions_once();
  Task<Result<pb::ClientReply>> exchange(ChannelPtr channel, const pb::ClientRequest* request,
                                         Deadline deadline);
  Task<Result<pb::ClientReply>> call_numbered(pb::ClientRequest request, Deadline deadline,
                                              Mutation* mutation);
  bool number(pb::ClientRequest& request, Mutation& mutation);
  // What an answer, or its absence, says of the master and of our leases.
  void heard_error(const pb::ClientRequest& request, Code code, Instant sent, bool current);
  void heard_from(const net::Channel* channel);
  void answered(Instant sent);
  void session_gone(std::uint64_t generation);

  runtime::Runtime& runtime_;
  net::Network& network_;
  observe::Log& log_;
  const Options& options_;
  Owner& owner_;
  runtime::TaskGroup tasks_;
  Event changed_;
  runtime::Semaphore mutations_;

  MasterList masters_;
  MasterFinder finder_;
  ChannelPtr channel_;  // open and with a session, or null
  ChannelPtr opening_;  // to be the next one
  std::uint64_t session_ = 0;
  std::uint64_t generation_ = 1;
  InodeId root_ = kRootInode;
  Duration lease_ = std::chrono::milliseconds(60'000);
  Instant valid_until_;
  Instant last_sent_;              // of the newest answered request
  Instant last_proof_;             // that it is the master
  Instant last_heard_;             // anything at all, on this channel
  std::optional<Instant> probed_;  // a probe is on its way since then
  bool doubted_ = false;           // it answered what a master in trouble answers
  bool silent_ = false;            // it does not answer the probe: the others are asked
  std::uint64_t next_seq_ = 1;
  std::set<std::uint64_t> unanswered_;
  std::uint64_t next_exchange_ = 1;
  std::map<std::uint64_t, Instant> in_flight_;
  std::map<net::Address, Error> refusals_;  // by those asked in vain since the last success
  bool started_ = false;
  bool was_connected_ = false;
  bool stopping_ = false;
};

// True for requests that change replicated state and so carry a seq.
bool is_mutation(const pb::ClientRequest& request);

}  // namespace cairn::client
