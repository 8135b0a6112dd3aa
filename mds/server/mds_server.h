// MdsServer: one MDS of a group, without a process around it: the replicated log, and while this
// member is the master, the Master and its services. The same object runs in cairn-mdsd and in the
// simulator.
//
// Owns:     Group, Master (one a reign), the services.
// Promises: before and after a reign every request of clients, chunk servers and the admin tool is
//           answered kNotMaster with the master's address, as far as it is known.
// Requires: the loop thread; start() first; co_await stop() before it dies. What it is given
//           outlives it.
// Errors:   start(): kCorrupt, kDiskFailed. Later failures: Options::on_end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/arrival_set.h"
#include "common/net/stream.h"
#include "common/rpc/rpc.h"
#include "mds/master/master.h"
#include "mds/replication/group.h"
#include "mds/service/admin_service.h"
#include "mds/service/cluster_service.h"
#include "mds/service/members_service.h"
#include "mds/service/peer_service.h"

namespace cairn::mds::server {

class MdsServer final : private replication::Group::Owner {
 public:
  struct Parts {
    runtime::Runtime& runtime;
    net::Network& network;
    observe::Log& log;
    replication::TableVault& vault;
    replication::LogStore& store;
    replication::PeerTransport& peers;
    // Unary calls to another member's gRPC door.
    replication::MakeCaller make_caller;
  };
  struct Options {
    master::Settings settings;
    service::Identity identity;
    replication::Group::Options group;
    // Log or tables failed, or (kNotFound) this member was removed from the group: the process must
    // end.
    std::function<void(const Error&)> on_end;
    // The members, each time they changed.
    std::function<void(const paxos::Membership&)> on_membership;
  };
  MdsServer(Parts parts, Options options);
  ~MdsServer() override;

  Status start();
  // A client connected (the listener's OnAccept).
  void accept(std::unique_ptr<net::Stream> stream);
  // All methods of the gRPC door.
  const rpc::Dispatcher& dispatcher() const { return dispatcher_; }
  // A peer's link said who it is (GrpcPeers).
  void met(NodeId peer, const net::Address& address, std::uint64_t repo_uuid) {
    group_.met(peer, address);
    members_.met(peer, address.to_string(), repo_uuid);
  }
  // A master hands over first, if somebody can take over.
  Task<Status> stop(Deadline deadline);

  // It was elected, and serves.
  bool is_master() const { return reign_ != nullptr && reign_->master.serving(); }
  const replication::Group& group() const { return group_; }
  replication::Group& group() { return group_; }

 private:
  // What exists only while this MDS is the master. Calls under way keep it alive.
  struct Reign {
    Reign(MdsServer& server, const master::Master::Options& options);
    master::Master master;
    service::ClusterService cluster;
    service::AdminService admin;
    service::MembersService group;
    rpc::Dispatcher dispatcher;
  };

  void on_elected() override;
  void on_deposed() override;
  void on_membership(const paxos::Membership& membership) override;
  void on_resync(NodeId member) override;
  void on_report(NodeId from, pb::PeerReport report) override;
  void on_failure(const Error& error) override;
  bool uses_tables() const override;

  static Task<void> reign(MdsServer* self);
  Task<void> reign_once();
  // Beside the next reign, if there is one.
  static Task<void> end_reign(std::shared_ptr<Reign> reign);
  static Task<void> keep(MdsServer* self);
  static Task<void> end_removed(MdsServer* self);
  static Task<Result<std::string>> forward(MdsServer* self, std::string method,
                                           std::string request);
  static Task<Result<pb::HelloReply>> hello(MdsServer* self, pb::HelloRequest request);
  static Task<void> turn_away(MdsServer* self, std::unique_ptr<net::Stream> stream);
  static Task<Result<net::Payload>> redirect(MdsServer* self, net::Payload request);
  void offer(const rpc::Dispatcher& methods);
  Error not_master() const;

  const Parts parts_;
  const Options options_;
  runtime::TaskGroup tasks_;
  runtime::TaskGroup doors_;  // clients that came to the wrong MDS
  replication::Group group_;
  service::Members members_;
  replication::SnapshotServer snapshots_;
  service::PeerService peer_service_;
  rpc::Dispatcher dispatcher_;
  std::shared_ptr<Reign> reign_;
  // All that were not gone at the last look, for a call of theirs may still be under way.
  std::vector<std::weak_ptr<Reign>> reigns_;
  runtime::Signal changed_;
  ArrivalSet<net::Channel*> turned_away_;
  ArrivalSet<net::Stream*> greeting_;  // clients that have not said who they are
  bool elected_ = false;
  std::uint64_t elections_ = 0;
  bool removed_ = false;
  bool stopping_ = false;
};

}  // namespace cairn::mds::server
