// Keeper: keeps the chunk server known to the cluster: registers at the MDS, sends heartbeats with
// statistics, carries removals and scrubs to its Duties, reports failures. Never gives up.
//
// Promises: a removal is reported when it is durable, and again until a master took the report,
//           over any number of failovers; so is the result of a scrub. A failure is told when it
//           registers and with every heartbeat. What the MDS say of their members goes to
//           `on_members`.
// Requires: co_await stop() before it dies; everything it is given outlives it. `mds` finds the
//           master; it may send a request twice (both are idempotent).
// Limits:   kRemovalsAtOnce removals under way; what is not taken up is sent again by the MDS.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/cluster/duties.h"
#include "common/observe/log.h"
#include "common/rpc/rpc.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"
#include "proto/mds_cluster.pb.h"

namespace cairn::chunkserver::cluster {

inline constexpr std::size_t kRemovalsAtOnce = 256;
inline constexpr std::size_t kRemovalsKnownMax = 65536;

class Keeper {
 public:
  // gRPC addresses of all MDS, the master first.
  using OnMembers = std::function<void(const std::vector<std::string>&)>;
  // `identity` is what RegisterCs sends; its failure comes from `duties`.
  Keeper(runtime::Runtime& runtime, rpc::Caller& mds, pb::RegisterCsRequest identity,
         Duties& duties, observe::Log& log, OnMembers on_members = nullptr);
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  void start();
  Task<void> stop();
  bool registered() const { return registered_; }

 private:
  Task<void> run();
  Task<bool> register_once();
  Task<bool> heartbeat_once();
  pb::HeartbeatRequest heartbeat();
  void take_removals(const pb::HeartbeatReply& reply);
  // The piece, up to that version of it; 0: any.
  struct Removal {
    PieceId piece;
    std::uint64_t version = 0;
    friend auto operator<=>(const Removal&, const Removal&) = default;
  };
  Task<void> remove_one(Removal removal);
  // Waits, at most until then, for stop() or something to report.
  Task<void> wait(Duration duration);
  void wake();
  Duration next_backoff();
  void complain(const char* what, const Error& error);
  void answered(const google::protobuf::RepeatedPtrField<std::string>& members);
  Task<void> look_for_master();

  runtime::Runtime& runtime_;
  rpc::Caller& mds_;
  pb::RegisterCsRequest identity_;
  Duties& duties_;
  observe::Log& log_;
  OnMembers on_members_;
  bool registered_ = false;
  bool stopping_ = false;
  Duration heartbeat_ = 1s;
  Duration backoff_ = {};
  std::vector<std::string> members_;  // as the master told last
  bool lost_master_ = false;          // whoever answered is none
  Instant answered_at_;
  Code last_complaint_ = Code::kInternal;
  std::uint64_t complaints_ = 0;
  std::set<Removal> removing_;
  std::set<Removal> removed_;  // durable, not yet reported
  std::optional<runtime::Completion<bool>> sleeper_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::cluster
