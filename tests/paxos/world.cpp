#include "tests/paxos/world.h"

#include "tests/paxos/client.h"
#include "tests/paxos/describe.h"
#include "tests/paxos/member.h"

namespace cairn::paxos_sim {

namespace {

constexpr std::uint64_t kEventsMax = 4'000'000;

paxos::Membership founders(std::size_t count) {
  paxos::Membership membership;
  for (std::uint32_t i = 1; i <= count; ++i) {
    membership.members.push_back({.id = NodeId::from_raw(i),
                                  .role = paxos::Role::kVoter,
                                  .address = fmt::format("mds{}:2510", i),
                                  .repo_uuid = i});
  }
  membership.next_id = static_cast<std::uint32_t>(count) + 1;
  return membership;
}

}  // namespace

World::World(const Settings& drawn)
    : settings(drawn),
      prng(mix(0x3017d, drawn.plan.seed)),
      trace(drawn.plan.verbose),
      oracle(founders(drawn.founders), drawn.plan.white_box),
      network(prng, drawn.quality),
      disk(drawn.disk),
      apply_lag(drawn.apply_lag),
      histories(drawn.keys) {
  const paxos::Membership bootstrap = oracle.newest();
  for (const paxos::Member& member : bootstrap.members) make_member(member.id, bootstrap);
}

World::~World() = default;

void World::send(NodeId from, NodeId to, paxos::Message message) {
  const Network::Copies copies = network.route(end_of(from), end_of(to), schedule.now());
  if (trace.verbose()) {
    say("{} -> {}  {}{}", from.raw(), to.raw(), describe(message),
        copies.count == 0 ? "  (lost)" : "");
  }
  note(hash_of(message), mix(from.raw(), to.raw()));
  ++messages;
  if (copies.count == 0) return;
  const auto shared = std::make_shared<const paxos::Message>(std::move(message));
  for (unsigned i = 0; i < copies.count; ++i) {
    schedule.after(copies.delay[i], [this, from, to, shared, sent = schedule.now()] {
      if (sent < lost_before || network.cut(end_of(from), end_of(to), schedule.now())) return;
      Member* target = member(to);
      if (target != nullptr && target->running()) target->receive(from, shared);
    });
  }
}

void World::request(NodeId to, const Request& request) {
  const Network::Copies copies = network.route(request.client, end_of(to), schedule.now());
  for (unsigned i = 0; i < copies.count; ++i) {
    schedule.after(copies.delay[i], [this, to, request] {
      if (network.cut(request.client, end_of(to), schedule.now())) return;
      Member* target = member(to);
      if (target != nullptr && target->running()) target->serve(request);
    });
  }
}

void World::reply(NodeId from, End to, const Reply& reply) {
  const Network::Copies copies = network.route(end_of(from), to, schedule.now());
  for (unsigned i = 0; i < copies.count; ++i) {
    schedule.after(copies.delay[i], [this, from, to, reply] {
      if (network.cut(end_of(from), to, schedule.now())) return;
      clients[to - kFirstClient]->on_reply(from, reply);
    });
  }
}

bool World::can_talk(NodeId a, NodeId b) const {
  return !network.cut(end_of(a), end_of(b), schedule.now()) &&
         !network.cut(end_of(b), end_of(a), schedule.now());
}

Member* World::member(NodeId id) {
  const auto at = members.find(id);
  return at == members.end() ? nullptr : at->second.get();
}

Member& World::make_member(NodeId id, const paxos::Membership& bootstrap) {
  std::unique_ptr<Member>& place = members[id];
  if (place == nullptr) place = std::make_unique<Member>(*this, id, bootstrap);
  return *place;
}

Member* World::master() {
  Member* found = nullptr;
  for (auto& [id, member] : members) {
    if (!member->running() || !member->serving()) continue;
    // Several may believe it; one that may serve is preferred.
    if (found == nullptr || member->may_serve()) found = member.get();
  }
  return found;
}

std::vector<NodeId> World::ids() const {
  std::vector<NodeId> found;
  for (const auto& [id, member] : members) found.push_back(id);
  return found;
}

std::vector<NodeId> World::member_ids() const {
  std::vector<NodeId> found;
  for (const paxos::Member& member : oracle.newest().members) found.push_back(member.id);
  return found;
}

void World::check_one_server() {
  const Member* first = nullptr;
  for (const auto& [id, member] : members) {
    if (!member->leads() || !member->may_serve()) continue;
    if (first != nullptr) {
      oracle.violation(
          fmt::format("members {} and {} may serve at the same time", first->id().raw(), id.raw()));
    }
    first = member.get();
  }
}

bool World::run(Duration deadline, const std::function<bool()>& until) {
  while (!oracle.failed()) {
    if (until()) return true;
    if (schedule.now() >= deadline || !schedule.run_next()) return false;
    check_one_server();
    if (schedule.events() > kEventsMax) oracle.violation("endless: too many events");
  }
  return false;
}

}  // namespace cairn::paxos_sim
