// Administrators: members come, become voters, move, go; and the machines of those that went are
// taken away.
#include <algorithm>

#include "tests/paxos/client.h"
#include "tests/paxos/describe.h"
#include "tests/paxos/member.h"
#include "tests/paxos/nemesis.h"

namespace cairn::paxos_sim {

namespace {
constexpr std::uint32_t kMemberIdsMax = 12;
constexpr std::size_t kMembersMax = 6;
}  // namespace

// A membership matters as long as some voter of the newest one does not durably know everything it
// decided.
bool Nemesis::survivable(NodeId also) const {
  const auto is_lost = [this, also](NodeId id) {
    const auto at = world_.members.find(id);
    return id == also || at == world_.members.end() || at->second->lost();
  };
  Slot known_by_all(UINT64_MAX);
  for (const paxos::Member& voter : world_.oracle.newest().members) {
    if (voter.role != paxos::Role::kVoter) continue;
    known_by_all = std::min(known_by_all, world_.member(voter.id)->durably_known());
  }
  const auto survives = [&is_lost](const paxos::Membership& membership) {
    std::size_t lost = 0;
    for (const paxos::Member& member : membership.members) {
      if (member.role == paxos::Role::kVoter && is_lost(member.id)) ++lost;
    }
    return lost <= paxos::voters(membership) - paxos::majority(membership);
  };
  const auto& configs = world_.oracle.configs();
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const bool over = i + 1 < configs.size() && configs[i + 1].first <= known_by_all;
    if (!over && !survives(configs[i].second)) return false;
  }
  return std::all_of(world_.proposed.begin(), world_.proposed.end(), survives);
}

bool Nemesis::may_decide(const paxos::Membership& membership) const {
  std::size_t lost = 0;
  for (const paxos::Member& member : membership.members) {
    if (member.role != paxos::Role::kVoter) continue;
    const Member* found = world_.member(member.id);
    if (found == nullptr || found->lost()) ++lost;
  }
  const std::size_t all = paxos::voters(membership);
  return all > 0 && lost <= all - paxos::majority(membership);
}

void Nemesis::change_members() {
  destroy_removed();
  Member* master = world_.master();
  if (master == nullptr) return;
  const std::uint64_t version = world_.oracle.newest().version;
  std::erase_if(world_.proposed,
                [version](const paxos::Membership& old) { return old.version <= version; });
  paxos::Membership next = master->core().membership();
  ++next.version;
  bool changed = false;
  switch (world_.prng.below(5)) {
    case 0:
      changed = add(&next);
      break;
    case 1:
    case 2:
      changed = promote(&next);
      break;
    case 3:
      changed = remove(*master, &next);
      break;
    default:
      changed = move(&next);
      break;
  }
  if (changed && may_decide(next)) propose(*master, next);
}

void Nemesis::propose(Member& master, const paxos::Membership& next) {
  // A new one may start before or after it is added.
  for (const paxos::Member& member : next.members) {
    const bool is_new = world_.member(member.id) == nullptr;
    Member& made = world_.make_member(member.id, paxos::Membership());
    if (!is_new) continue;
    world_.schedule.after(draw(world_.prng, 0us, world_.settings.timing.hold),
                          [&made] { made.start(); });
  }
  world_.say("mds{} is asked for members {}", master.id().raw(), describe(next));
  world_.proposed.push_back(next);
  if (!master.change_members(next)) world_.proposed.pop_back();
}

bool Nemesis::add(paxos::Membership* next) {
  if (next->next_id > kMemberIdsMax || next->members.size() >= kMembersMax) return false;
  const std::uint32_t id = next->next_id++;
  next->members.push_back({.id = NodeId::from_raw(id),
                           .role = paxos::Role::kLearner,
                           .address = fmt::format("mds{}:2510", id),
                           .repo_uuid = id});
  return true;
}

bool Nemesis::promote(paxos::Membership* next) {
  for (paxos::Member& member : next->members) {
    if (member.role == paxos::Role::kVoter) continue;
    member.role = paxos::Role::kVoter;
    return true;
  }
  return false;
}

bool Nemesis::remove(const Member& master, paxos::Membership* next) {
  const bool yielded = remove_next_.valid() && remove_next_ != master.id() &&
                       paxos::find_member(*next, remove_next_) != nullptr;
  NodeId victim = std::exchange(remove_next_, NodeId());
  if (!yielded) victim = next->members[world_.prng.below(next->members.size())].id;
  if (yielded || victim == master.id()) ++world_.stats.leaders_removed;
  std::erase_if(next->members, [victim](const paxos::Member& m) { return m.id == victim; });
  return true;
}

bool Nemesis::move(paxos::Membership* next) {
  paxos::Member& member = next->members[world_.prng.below(next->members.size())];
  member.address = fmt::format("mds{}-v{}:2510", member.id.raw(), next->version);
  return true;
}

// Whoever was removed, for all to know, has no machine any more; as far as nobody depends on what
// it knew.
void Nemesis::destroy_removed() {
  for (const auto& [id, member] : world_.members) {
    const paxos::Membership& newest = world_.oracle.newest();
    if (member->destroyed() || id.raw() >= newest.next_id) continue;
    if (paxos::find_member(newest, id) != nullptr || !world_.prng.chance(500)) continue;
    if (!survivable(id)) continue;
    ++world_.stats.members_destroyed;
    member->destroy();
  }
}

}  // namespace cairn::paxos_sim
