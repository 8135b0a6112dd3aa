// MasterFinder: asks all MDS that may be the master who is, until one says: I am. One scout per
// address, side by side, so that a silent MDS costs nothing but its own scout.
//
// Owns:     the scouts and the channels they make.
// Promises: find() ends soon after a reachable MDS became the master, whoever else is silent: an
//           MDS is asked again within 100 ms of its last answer at first, later less often, and at
//           once when another one points to it.
// Requires: the loop of `runtime`; one find() at a time; co_await stop() before it dies.
// Limits:   kScoutsMax addresses a search. A scout outlives its search for at most the time one
//           attempt to connect may take.
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "client/core/event.h"
#include "client/core/master_list.h"
#include "common/net/channel.h"
#include "common/runtime/task_group.h"

namespace cairn::client {

class MasterFinder {
 public:
  using ChannelPtr = std::shared_ptr<net::Channel>;
  static constexpr std::size_t kScoutsMax = 32;

  struct Hooks {
    net::Channel::Handler serve;     // of every channel: requests of the master
    std::function<void()> on_close;  // of every channel
    // What came of asking there. kNotMaster: it lives, and is not the master.
    std::function<void(const net::Address&, const Error&)> on_failed;
  };

  MasterFinder(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials,
               MasterList& list, Hooks hooks);
  ~MasterFinder();

  // An open channel to an MDS that said it is the master; nullptr when `wanted` said no (it is
  // asked after each wake()) or after stop().
  Task<ChannelPtr> find(std::function<bool()> wanted);
  void wake();
  Task<void> stop();

 private:
  struct Search;
  struct Scout;
  struct Opinion {
    enum class Kind { kMaster, kNotMaster, kUnusable } kind = Kind::kUnusable;
    std::string master;  // gRPC address, when told
    Error error{Code::kUnavailable};
  };

  static Task<void> run_scout(MasterFinder* self, std::shared_ptr<Search> search, net::Address to,
                              Instant start);
  static Task<void> wait_turn(runtime::Runtime* runtime, Search* search, Scout* scout);
  Task<void> ask_once(Search* search, Scout* scout);
  Task<Result<ChannelPtr>> connect(net::Address to);
  Task<Opinion> ask(ChannelPtr channel);
  void believe(Search& search, Scout& scout, const Opinion& opinion);
  void send_scout(const std::shared_ptr<Search>& search, const net::Address& to, Instant start);
  static Task<void> retire(ChannelPtr channel);
  Instant next_turn(const Search& search);

  runtime::Runtime& runtime_;
  net::Network& network_;
  const net::Credentials credentials_;
  MasterList& list_;
  const Hooks hooks_;
  runtime::TaskGroup tasks_;
  std::shared_ptr<Search> search_;  // under way
  bool stopping_ = false;
};

}  // namespace cairn::client
