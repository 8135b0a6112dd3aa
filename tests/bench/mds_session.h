// MdsSession: one session with the master, as bare as it can be: what a bench or a probe of the MDS
// sends is what the MDS gets, without a client's caches and pauses.
//
// Owns:     the channel to one MDS at a time.
// Promises: a mutation is done exactly once, over lost connections and new masters: same session,
//           same seq, until answered.
// Requires: the loop of `runtime`; co_await close() before it dies.
// Errors:   kTimeout (deadline), or what the master answered.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/core/event.h"
#include "common/net/channel.h"
#include "proto/mds_client.pb.h"

namespace cairn::bench {

class MdsSession {
 public:
  struct Options {
    std::vector<net::Address> doors;  // session doors of all MDS
    net::Credentials credentials;
    std::string name;          // process name of the session: different for each
    std::uint64_t resume = 0;  // a session of another MdsSession to go on with
  };
  MdsSession(runtime::Runtime& runtime, net::Network& network, Options options)
      : runtime_(runtime),
        network_(network),
        options_(std::move(options)),
        changed_(runtime),
        session_(options_.resume) {}

  Task<Status> open(Deadline deadline);
  Task<Result<pb::ClientReply>> mutate(pb::ClientRequest request, Deadline deadline);
  // One attempt on the present channel, also for reads.
  Task<Result<pb::ClientReply>> ask(pb::ClientRequest request, Deadline deadline);
  Task<void> close();

  // Which MDS answered last: index in Options::doors.
  std::size_t door() const { return door_; }
  std::uint64_t root() const { return root_; }
  std::uint64_t session() const { return session_; }

 private:
  using ChannelPtr = std::shared_ptr<net::Channel>;
  Task<Result<pb::ClientReply>> exchange(ChannelPtr channel, pb::ClientRequest request,
                                         Deadline deadline);
  Task<Status> connect(Deadline deadline);
  Task<Status> connect_one(Deadline deadline);
  Task<Status> resume(ChannelPtr channel);
  void note_master(const std::string& grpc_address);

  runtime::Runtime& runtime_;
  net::Network& network_;
  const Options options_;
  client::Event changed_;
  ChannelPtr channel_;
  bool connecting_ = false;
  std::size_t door_ = 0;
  std::optional<std::size_t> hint_;  // who is said to be the master
  std::uint64_t session_ = 0;
  std::uint64_t root_ = 0;
  std::uint64_t next_seq_ = 1;
  std::set<std::uint64_t> unanswered_;
};

}  // namespace cairn::bench
