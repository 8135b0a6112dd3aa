// The MDS group of a simulated cluster, and what the admin tool asks of it.
#include <algorithm>

#include "proto/admin.pb.h"
#include "tests/sim/cluster.h"

namespace cairn::sim {

namespace {
constexpr Duration kAdminCall = 10s;
constexpr Duration kAdminAttempt = 2s;
constexpr Duration kAdminPause = 200ms;
}  // namespace

SimMds& SimCluster::new_mds(NodeId id, bool founder, std::map<NodeId, net::Address> peers) {
  const auto index = static_cast<unsigned>(mds_.size());
  // The messages between members find addresses by it.
  CHECK_EQ(id.raw(), kFirstMdsId.raw() + index);
  const auto most = static_cast<std::uint64_t>(options_.drift_ppm_max);
  const SimMds::Tuning tuning{
      .lease = options_.lease,
      .tables = options_.mds_tables,
      .drift_ppm =
          static_cast<std::int64_t>(world_.prng().below(2 * most + 1)) - options_.drift_ppm_max,
      .lying_log = options_.lying_logs,
      .cell_bytes = options_.cell_bytes,
      .piece_bytes = options_.piece_bytes,
      .sabotage = options_.master_sabotage};
  mds_.push_back(std::make_unique<SimMds>(
      SimMds::Surroundings{.world = world_,
                           .fabric = fabric_,
                           .control = control_,
                           .peers = peer_net_,
                           .log = *log_},
      SimMds::Identity{.index = index, .id = id, .founder = founder, .peers = std::move(peers)},
      tuning, [this, index](const Error& error) { mds_ended(mds_[index].get(), error); }));
  return *mds_.back();
}

void SimCluster::mds_ended(SimMds* node, const Error& error) {
  if (error.code() == Code::kNotFound) {
    node->set_removed();
  } else if (!node->drive_failed() && mds_failure_.empty()) {
    mds_failure_ = node->host() + " ended: " + error.to_string();
  }
  node->kill();
}

SimMds* SimCluster::master() {
  for (const std::unique_ptr<SimMds>& node : mds_) {
    if (node->may_serve() && !node->paused()) return node.get();
  }
  return nullptr;
}

mds::paxos::Membership SimCluster::newest_members() {
  mds::paxos::Membership newest;
  for (const std::unique_ptr<SimMds>& node : mds_) {
    if (!node->runs()) continue;
    const mds::paxos::Membership& members = node->server().group().membership();
    if (members.version >= newest.version) newest = members;
  }
  return newest;
}

std::vector<net::Address> SimCluster::mds_addresses() const {
  std::vector<net::Address> all;
  for (const std::unique_ptr<SimMds>& node : mds_) {
    if (!node->removed()) all.push_back(SimMds::address_of(node->index()));
  }
  return all;
}

std::unique_ptr<rpc::MultiCaller> SimCluster::mds_caller(SimRuntime& from, const std::string& host,
                                                         rpc::MultiCaller::Options options) {
  rpc::MakeCaller make = [this, &from, host](const net::Address& address) {
    return control_.caller(from, host, address.to_string());
  };
  return std::make_unique<rpc::MultiCaller>(from, mds_addresses(), std::move(make), options);
}

template <class Request, class Reply>
Result<Reply> SimCluster::ask_mds(const std::string& method, Request request, Duration limit) {
  // All of these may be asked twice.
  const std::unique_ptr<rpc::MultiCaller> caller =
      mds_caller(admin_runtime_, "admin",
                 {.patience = rpc::Patience::kUntilDeadline, .resend = rpc::Resend::kIdempotent});
  std::optional<Result<Reply>> answer;
  struct Asker {
    static Task<void> run(rpc::Caller* to, std::string name, Request what, Deadline deadline,
                          std::optional<Result<Reply>>* into) {
      Result<Reply> reply =
          co_await rpc::call<Reply, Request>(*to, std::move(name), std::move(what), deadline);
      into->emplace(std::move(reply));
    }
  };
  runtime::TaskGroup group(admin_runtime_);
  group.spawn(
      Asker::run(caller.get(), method, std::move(request), admin_runtime_.after(limit), &answer));
  world_.run_until([&] { return group.running() == 0; }, limit + 10s);
  CHECK(answer.has_value());
  return std::move(*answer);
}

template <class Request, class Reply>
Task<Result<Reply>> SimCluster::ask_admin(std::string method, Request request) {
  const std::unique_ptr<rpc::MultiCaller> caller =
      mds_caller(admin_runtime_, "admin",
                 {.patience = rpc::Patience::kUntilDeadline,
                  .resend = rpc::Resend::kIdempotent,
                  .attempt = kAdminAttempt});
  const Deadline deadline = admin_runtime_.after(kAdminCall);
  Result<Reply> reply =
      co_await rpc::call<Reply, Request>(*caller, std::move(method), std::move(request), deadline);
  co_return reply;
}

Task<Result<pb::SetPolicyReply>> SimCluster::set_policy(pb::SetPolicyRequest request) {
  return ask_admin<pb::SetPolicyRequest, pb::SetPolicyReply>("/cairn.pb.Admin/SetPolicy",
                                                             std::move(request));
}
Task<Result<pb::SetConfigReply>> SimCluster::set_config(pb::SetConfigRequest request) {
  return ask_admin<pb::SetConfigRequest, pb::SetConfigReply>("/cairn.pb.Admin/SetConfig",
                                                             std::move(request));
}

// ---- the group ----

Task<bool> SimCluster::add_mds() {
  const auto index = static_cast<unsigned>(mds_.size());
  const std::unique_ptr<rpc::MultiCaller> caller =
      mds_caller(admin_runtime_, "admin",
                 {.patience = rpc::Patience::kUntilDeadline,
                  .resend = rpc::Resend::kIdempotent,
                  .attempt = kAdminAttempt});
  pb::AddMdsRequest request;
  request.set_cluster(kSimCluster);
  request.set_address(SimMds::address_of(index).to_string());
  request.set_repo_uuid(SimMds::repo_uuid_of(index));
  request.set_host(SimMds::host_of(index));
  const Deadline deadline = admin_runtime_.after(kAdminCall);
  std::string method = "/cairn.pb.Admin/AddMds";
  const Result<pb::AddMdsReply> reply =
      co_await rpc::call<pb::AddMdsReply>(*caller, std::move(method), std::move(request), deadline);
  if (!reply.has_value()) co_return false;
  std::map<NodeId, net::Address> peers;
  for (const pb::MdsMember& member : reply->members()) {
    const Result<net::Address> address = net::Address::parse(member.address());
    CHECK(address.has_value());
    if (member.id() != reply->mds_id()) peers.emplace(NodeId::from_raw(member.id()), *address);
  }
  new_mds(NodeId::from_raw(reply->mds_id()), false, std::move(peers)).start();
  co_return true;
}

Task<bool> SimCluster::remove_mds(std::size_t index) {
  SimMds* node = mds_[index].get();
  const std::unique_ptr<rpc::MultiCaller> caller =
      mds_caller(admin_runtime_, "admin",
                 {.patience = rpc::Patience::kUntilDeadline,
                  .resend = rpc::Resend::kIdempotent,
                  .attempt = kAdminAttempt});
  for (;;) {
    pb::RemoveMdsRequest request;
    request.set_cluster(kSimCluster);
    request.set_mds_id(node->id().raw());
    const Deadline deadline = admin_runtime_.after(kAdminCall);
    std::string method = "/cairn.pb.Admin/RemoveMds";
    const Result<pb::RemoveMdsReply> reply = co_await rpc::call<pb::RemoveMdsReply>(
        *caller, std::move(method), std::move(request), deadline);
    const Code code = reply.has_value() ? Code() : reply.error().code();
    if (code == Code::kRefusedForSafety || code == Code::kBusy) co_return false;
    // Asked twice, it may be gone already. Any other answer leaves it open.
    if (reply.has_value() || code == Code::kNotFound) break;
    co_await runtime::sleep_for(admin_runtime_, kAdminPause);
  }
  node->set_removed();
  if (node->runs()) node->kill();
  co_return true;
}

bool SimCluster::add_group() {
  new_mds(kFirstMdsId, true, {}).start();
  if (!world_.run_until([this] { return master() != nullptr; }, 10s)) return false;
  while (mds_.size() < options_.mds) {
    struct Adder {
      static Task<void> run(SimCluster* self, bool* added) { *added = co_await self->add_mds(); }
    };
    bool added = false;
    runtime::TaskGroup group(admin_runtime_);
    group.spawn(Adder::run(this, &added));
    world_.run_until([&] { return group.running() == 0; }, 30s);
    if (!added) return false;
  }
  return converge(30s);
}

bool SimCluster::converged() {
  SimMds* leader = master();
  if (leader == nullptr) return false;
  const Slot applied = leader->server().group().applied_slot();
  std::size_t members = 0;
  for (const std::unique_ptr<SimMds>& node : mds_) {
    if (node->removed()) continue;
    ++members;
    if (!node->runs() || node->paused()) return false;
    const mds::replication::Group& group = node->server().group();
    const mds::paxos::Member* member = mds::paxos::find_member(group.membership(), node->id());
    if (member == nullptr || member->role != mds::paxos::Role::kVoter) return false;
    if (group.recovering() || group.applied_slot() != applied) return false;
  }
  return leader->server().group().membership().members.size() == members;
}

bool SimCluster::converge(Duration limit) {
  return world_.run_until([this] { return converged(); }, limit);
}

std::string SimCluster::check_mds() {
  pb::CheckMdsRequest request;
  request.set_cluster(kSimCluster);
  const Result<pb::CheckMdsReply> reply =
      ask_mds<pb::CheckMdsRequest, pb::CheckMdsReply>("/cairn.pb.Admin/CheckMds", request, 110s);
  if (!reply.has_value()) return "check-mds: " + reply.error().to_string();
  for (const pb::CheckMdsReply::One& one : reply->mds()) {
    if (!one.failure().empty()) return "check-mds: " + one.failure();
    if (one.digest() != reply->mds(0).digest()) {
      return "check-mds: the tables of the members differ at slot " + std::to_string(reply->slot());
    }
  }
  return {};
}

// ---- bring-up ----

Result<std::uint32_t> SimCluster::register_cs(unsigned index, const std::string& host) {
  pb::AddCsRequest request;
  request.set_cluster(kSimCluster);
  request.set_repo_uuid(1000 + kFirstCsId.raw() + index);
  request.set_host_id(kFirstCsId.raw() + index);
  request.set_host(host);
  TRY(const pb::AddCsReply reply,
      ask_mds<pb::AddCsRequest, pb::AddCsReply>("/cairn.pb.Admin/AddCs", request, kAdminCall));
  return reply.cs_id();
}

bool SimCluster::set_root_policy() {
  pb::SetPolicyRequest request;
  request.mutable_target()->set_path("/");
  pb::Encoding* encoding = request.mutable_policy()->mutable_encoding();
  encoding->set_data(options_.data);
  encoding->set_parity(options_.parity);
  encoding->set_min(options_.min);
  return ask_mds<pb::SetPolicyRequest, pb::SetPolicyReply>("/cairn.pb.Admin/SetPolicy", request,
                                                           kAdminCall)
      .has_value();
}

bool SimCluster::bring_up() { return add_group() && add_chunk_servers() && set_root_policy(); }

}  // namespace cairn::sim
