#include "mds/service/members_service.h"

#include <algorithm>

#include "common/runtime/task_group.h"
#include "mds/service/peer_service.h"

namespace cairn::mds::service {

namespace {
constexpr Duration kChangePatience = 10s;
// A digest reads all tables.
constexpr Duration kDigestPatience = 100s;
constexpr Duration kDigestPoll = 100ms;
constexpr Duration kDigestCall = 3s;
constexpr Duration kLookAgain = 100ms;

void add_members(const paxos::Membership& membership,
                 google::protobuf::RepeatedPtrField<pb::MdsMember>* to) {
  for (const paxos::Member& member : membership.members) {
    pb::MdsMember* shown = to->Add();
    shown->set_id(member.id.raw());
    shown->set_address(member.address);
    shown->set_role(member.role == paxos::Role::kVoter ? "voter" : "learner");
  }
}

// The members with one more. The same repository again: as they are.
Result<paxos::Membership> with_member(const paxos::Membership& now, const std::string& address,
                                      std::uint64_t repo_uuid) {
  paxos::Membership next = now;
  for (const paxos::Member& member : now.members) {
    if (member.address == address && member.repo_uuid != repo_uuid) {
      return fail(Code::kExists, fmt::format("MDS#{} of this cluster has the address {} already",
                                             member.id.raw(), address));
    }
  }
  const auto same = std::ranges::find(next.members, repo_uuid, &paxos::Member::repo_uuid);
  if (same != next.members.end()) {
    same->address = address;
    return next;
  }
  if (next.members.size() >= Members::kMembersMax) {
    return fail(Code::kInvalidArgument,
                fmt::format("the cluster has {} MDS, the most there may be; 3 or 5 are usual",
                            next.members.size()));
  }
  next.members.push_back({.id = NodeId::from_raw(next.next_id),
                          .role = paxos::Role::kLearner,
                          .address = address,
                          .repo_uuid = repo_uuid});
  ++next.next_id;
  return next;
}
}  // namespace

void MembersService::add_to(rpc::Dispatcher& dispatcher) {
  dispatcher.add<pb::AddMdsRequest, pb::AddMdsReply>(
      "/cairn.pb.Admin/AddMds",
      [this](pb::AddMdsRequest request) { return add_mds(this, std::move(request)); });
  dispatcher.add<pb::RemoveMdsRequest, pb::RemoveMdsReply>(
      "/cairn.pb.Admin/RemoveMds",
      [this](pb::RemoveMdsRequest request) { return remove_mds(this, std::move(request)); });
  dispatcher.add<pb::CheckMdsRequest, pb::CheckMdsReply>(
      "/cairn.pb.Admin/CheckMds",
      [this](pb::CheckMdsRequest request) { return check_mds(this, std::move(request)); });
}

Status MembersService::check_cluster(const std::string& name) const {
  const std::string& own = master_.environment().settings.cluster;
  if (name.empty() || name == own) return {};
  return fail(Code::kWrongCluster, fmt::format("this MDS serves cluster {}, not {}", own, name));
}

Task<Result<pb::AddMdsReply>> MembersService::add_mds(MembersService* self,
                                                      pb::AddMdsRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  CO_TRY(const net::Address address, net::Address::parse(request.address()));
  if (request.repo_uuid() == 0 || address.port == 0 || address.port == 65535) {
    co_return fail(Code::kInvalidArgument,
                   "an MDS needs the uuid of its repository and two consecutive ports");
  }
  const std::string text = address.to_string();
  const std::uint64_t uuid = request.repo_uuid();
  replication::Group::Edit edit = [text, uuid](const paxos::Membership& now) {
    return with_member(now, text, uuid);
  };
  const Deadline deadline = self->master_.environment().runtime.after(kChangePatience);
  const Result<paxos::Membership> changed =
      co_await self->group_.change_members(std::move(edit), deadline);
  if (!changed.has_value()) co_return fail(changed.error());
  const auto added = std::ranges::find(changed->members, uuid, &paxos::Member::repo_uuid);
  CHECK(added != changed->members.end());
  pb::AddMdsReply reply;
  reply.set_mds_id(added->id.raw());
  reply.set_cluster_id(self->master_.environment().settings.cluster_id.raw());
  add_members(*changed, reply.mutable_members());
  self->master_.events().write("MDS", observe::Severity::kInfo,
                               fmt::format("MDS#{} at {} was added", added->id.raw(), text));
  co_return reply;
}

Status MembersService::may_remove(NodeId id) const {
  const paxos::Membership& now = group_.membership();
  const paxos::Member* member = paxos::find_member(now, id);
  if (member == nullptr) {
    return fail(Code::kNotFound,
                fmt::format("there is no MDS#{}; `cairn stat` lists them", id.raw()));
  }
  if (member->role != paxos::Role::kVoter) return {};
  const std::size_t rest = paxos::voters(now) - 1;
  if (rest == 0) {
    return fail(Code::kRefusedForSafety,
                fmt::format("MDS#{} is the last one: the cluster would be gone", id.raw()));
  }
  const std::size_t needed = rest / 2 + 1;
  const std::size_t up = members_.voters_up(id);
  if (up >= needed) return {};
  return fail(
      Code::kRefusedForSafety,
      fmt::format("of the other {} MDS only {} {} up and {} are needed: the cluster would stop. "
                  "Bring them back or add a new MDS first",
                  rest, up, up == 1 ? "is" : "are", needed));
}

Task<Result<pb::RemoveMdsReply>> MembersService::remove_mds(MembersService* self,
                                                            pb::RemoveMdsRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  const NodeId id = NodeId::from_raw(request.mds_id());
  Status allowed = self->may_remove(id);
  // A master that was just elected has not heard of everybody yet.
  runtime::Runtime& clock = self->master_.environment().runtime;
  while (!allowed.has_value() && allowed.error().code() == Code::kRefusedForSafety &&
         clock.now() < self->master_.started() + PeerWatch::kUnavailAfter) {
    co_await runtime::sleep_for(clock, kLookAgain);
    if (self->master_.environment().stopping) {
      co_return fail(Code::kNotMaster, "this MDS is not the master any more");
    }
    allowed = self->may_remove(id);
  }
  if (!allowed.has_value()) co_return fail(allowed.error());
  if (id == self->members_.identity().mds_id) {
    if (!self->group_.yield(NodeId())) {
      co_return fail(
          Code::kBusy,
          fmt::format("MDS#{} is the master and no other one has caught up yet", id.raw()));
    }
    co_return fail(Code::kNotMaster,
                   fmt::format("MDS#{} was the master and handed over first", id.raw()));
  }
  const std::string address = paxos::find_member(self->group_.membership(), id)->address;
  // Asked again at the change itself: another one may have come first.
  replication::Group::Edit edit = [self,
                                   id](const paxos::Membership& now) -> Result<paxos::Membership> {
    TRY_VOID(self->may_remove(id));
    paxos::Membership next = now;
    std::erase_if(next.members, [id](const paxos::Member& member) { return member.id == id; });
    return next;
  };
  const Deadline deadline = self->master_.environment().runtime.after(kChangePatience);
  const Result<paxos::Membership> changed =
      co_await self->group_.change_members(std::move(edit), deadline);
  if (!changed.has_value()) co_return fail(changed.error());
  pb::RemoveMdsReply reply;
  reply.set_address(address);
  add_members(*changed, reply.mutable_members());
  self->master_.events().write("MDS", observe::Severity::kInfo,
                               fmt::format("MDS#{} at {} was removed", id.raw(), address));
  co_return reply;
}

Task<Result<pb::CheckMdsReply>> MembersService::check_mds(MembersService* self,
                                                          pb::CheckMdsRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  const master::Environment& env = self->master_.environment();
  const std::uint64_t mark = env.runtime.random() | 1;
  pb::Command command;
  command.mutable_digest_mark()->set_mark(mark);
  const Result<pb::CommandReply> marked = co_await env.commands.run(std::move(command));
  if (!marked.has_value()) co_return fail(marked.error());
  pb::CheckMdsReply reply;
  const replication::Group::Digest* own = self->group_.digest(mark);
  if (own == nullptr) co_return fail(Code::kInternal, "the mark was applied without a digest");
  reply.set_slot(own->slot.raw());
  const std::vector<paxos::Member> members = self->group_.membership().members;
  for (std::size_t i = 0; i < members.size(); ++i) reply.add_mds();
  const Deadline deadline = env.runtime.after(kDigestPatience);
  runtime::TaskGroup asking(env.runtime);
  for (std::size_t i = 0; i < members.size(); ++i) {
    asking.spawn(
        ask_digest(self, members[i], mark, reply.mutable_mds(static_cast<int>(i)), deadline));
  }
  co_await asking.join();
  co_return reply;
}

Task<void> MembersService::ask_digest(MembersService* self, paxos::Member member,
                                      std::uint64_t mark, pb::CheckMdsReply::One* one,
                                      Deadline deadline) {
  one->set_mds_id(member.id.raw());
  one->set_address(member.address);
  const Result<pb::DigestReply> reply = co_await self->digest_of(member, mark, deadline);
  if (!reply.has_value()) {
    one->set_failure(reply.error().to_string());
  } else if (!reply->failure().empty()) {
    one->set_failure(reply->failure());
  } else {
    one->set_digest(reply->digest());
  }
}

Task<Result<pb::DigestReply>> MembersService::digest_of(paxos::Member member, std::uint64_t mark,
                                                        Deadline deadline) {
  const master::Environment& env = master_.environment();
  const bool own = member.id == members_.identity().mds_id;
  std::unique_ptr<rpc::Caller> caller;
  if (!own) {
    const std::optional<net::Address> address = group_.address_of(member.id);
    if (!address.has_value()) co_return fail(Code::kNotFound, "it was removed meanwhile");
    caller = make_caller_(*address);
  }
  while (!env.stopping && env.runtime.now() < deadline) {
    pb::DigestRequest request;
    request.set_cluster_id(env.settings.cluster_id.raw());
    request.set_mark(mark);
    Result<pb::DigestReply> reply = fail(Code::kInternal);
    if (own) {
      reply = digest_reply(group_, mark);
    } else {
      const Deadline until = std::min(deadline, env.runtime.after(kDigestCall));
      std::string method = "/cairn.pb.Peer/Digest";
      reply = co_await rpc::call<pb::DigestReply, pb::DigestRequest>(*caller, std::move(method),
                                                                     std::move(request), until);
    }
    if (!reply.has_value()) co_return reply;
    if (!reply->pending()) co_return reply;
    co_await runtime::sleep_for(env.runtime, kDigestPoll);
  }
  co_return fail(Code::kTimeout, "it has not come to the mark yet");
}

}  // namespace cairn::mds::service
