// Whom a member keeps links to, and what it sends beside consensus messages.
#include <utility>

#include "mds/replication/group.h"
#include "mds/replication/peer_codec.h"

namespace cairn::mds::replication {

namespace {
// The link to a member that was removed lasts so long.
constexpr Duration kFarewell = 30s;
}  // namespace

void Group::report(pb::PeerReport report) {
  const NodeId to = leader();
  if (!to.valid() || to == options_.self) return;
  pb::PeerEnvelope envelope;
  *envelope.mutable_report() = std::move(report);
  transport_.send(to, std::make_shared<const std::string>(envelope.SerializeAsString()));
}

std::optional<net::Address> Group::address_of(NodeId member) const {
  const auto given = options_.addresses.find(member);
  if (given != options_.addresses.end()) return given->second;
  if (core_ == nullptr) return std::nullopt;
  const paxos::Member* found = paxos::find_member(core_->membership(), member);
  if (found != nullptr) {
    const Result<net::Address> address = net::Address::parse(found->address);
    if (address.has_value()) return *address;
  }
  const auto met = met_.find(member);
  if (met != met_.end()) return met->second;
  const auto departed = departed_.find(member);
  if (departed != departed_.end()) return departed->second.address;
  const auto seed = options_.seeds.find(member);
  return seed == options_.seeds.end() ? std::nullopt : std::optional(seed->second);
}

void Group::met(NodeId member, const net::Address& address) {
  if (member == options_.self || stopping_ || failed_) return;
  if (met_.size() >= kMetMax && !met_.contains(member)) return;
  met_.insert_or_assign(member, address);
  dial();
}

// Whoever was removed hears of it when enough of the others know.
void Group::part_with_removed(const paxos::Membership& now) {
  const paxos::Membership before = std::exchange(known_, now);
  for (const paxos::Member& member : before.members) {
    if (member.id == options_.self || paxos::find_member(now, member.id) != nullptr) continue;
    const Result<net::Address> address = net::Address::parse(member.address);
    if (!address.has_value()) continue;
    const auto given = options_.addresses.find(member.id);
    const runtime::TimerId forget =
        runtime_.schedule(runtime_.after(kFarewell), [this, id = member.id] {
          departed_.erase(id);
          met_.erase(id);  // if it lives and asks, it is met again
          dial();
        });
    departed_[member.id] = {.address = given == options_.addresses.end() ? *address : given->second,
                            .forget = forget};
  }
}

void Group::dial() {
  std::set<NodeId> whom;
  for (const paxos::Member& member : core_->membership().members) whom.insert(member.id);
  // A member that knows nobody yet finds the group by what its repository says, and by who finds
  // it. So does one whose idea of the group is old.
  if (whom.empty()) {
    for (const auto& [id, address] : options_.seeds) whom.insert(id);
  }
  for (const auto& [id, address] : met_) whom.insert(id);
  for (const auto& [id, gone] : departed_) whom.insert(id);
  whom.erase(options_.self);
  std::map<NodeId, net::Address> peers;
  for (const NodeId id : whom) {
    const std::optional<net::Address> address = address_of(id);
    if (address.has_value()) peers.emplace(id, *address);
  }
  transport_.set_peers(peers);
}

}  // namespace cairn::mds::replication
