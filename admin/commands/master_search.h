// MasterSearch: brings a request of the admin tool to the master of a group of MDS.
//
// Owns:     a Caller for each address, also for the master's when a member names one that was not
//           in the list.
// Promises: asks all members at once who is the master, so that one that hangs costs nothing;
//           waits while an election is under way, at most Options::patience, and less when more
//           than half of the members are surely down. A request that may have been done is not
//           sent again.
// Requires: the loop; co_await close() before it dies.
// Errors:   kUnavailable: nobody answers (names the addresses and why). kNoMajority: some answer,
//           none is the master (names both kinds). kNotAuthenticated, kWrongCluster: what the
//           members say. Else what the master answered.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/net/stream.h"
#include "common/rpc/rpc.h"
#include "common/runtime/completion.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"
#include "proto/admin.pb.h"

namespace cairn::admin {

class MasterSearch {
 public:
  using MakeCaller = std::function<std::unique_ptr<rpc::Caller>(const net::Address&)>;
  struct Options {
    std::string cluster;
    Duration hello = 2s;              // one member's time to say who it is
    Duration pause = 200ms;           // between two rounds
    Duration patience = 10s;          // for an election
    Duration patience_minority = 3s;  // when more than half refuse to be talked to
  };
  MasterSearch(runtime::Runtime& runtime, const std::vector<net::Address>& addresses,
               MakeCaller make_caller, Options options);

  Task<Result<std::string>> ask(std::string method, std::string request, Deadline deadline);
  // The first member that answers, master or not: proves the key and the cluster.
  Task<Result<pb::HelloReply>> greet(Deadline deadline);
  // Ends what is under way.
  Task<void> close();

 private:
  struct Member {
    net::Address address;
    std::unique_ptr<rpc::Caller> caller;
    bool asking = false;
    Result<pb::HelloReply> hello = fail(Code::kTimeout, "no answer yet");
  };
  // What is enough to go on with before all have answered.
  enum class Enough { kAnyAnswer, kAMaster };

  Task<void> say_hello(Member* member, Deadline deadline);
  Task<void> run_round(Enough enough, Deadline deadline);
  void end_round_if_enough(const Member& member);
  Task<Result<std::string>> try_candidates(const std::string* method, const std::string* request,
                                           Deadline deadline);
  Member* member_at(const net::Address& address);
  Member* add_member(const net::Address& address);
  // Named masters first, then those who answered.
  std::vector<Member*> candidates();
  std::size_t answering() const;
  // What members said about the caller, when none was content with it.
  std::optional<Error> refusal() const;
  bool most_are_down() const;
  Error nobody_answers() const;
  Error nobody_is_master() const;

  runtime::Runtime& runtime_;
  const MakeCaller make_caller_;
  const Options options_;
  std::vector<std::unique_ptr<Member>> members_;
  Enough enough_ = Enough::kAMaster;
  std::optional<runtime::Completion<Status>> round_done_;
  // Named as the master in the round before, and was not: to be named again is no news.
  std::set<std::string> failed_;
  runtime::TaskGroup tasks_;
};

}  // namespace cairn::admin
