#include "mds/service/members.h"

#include <algorithm>

namespace cairn::mds::service {

using replication::Group;

namespace {
constexpr Duration kChangePatience = 10s;

const char* role_text(paxos::Role role) {
  return role == paxos::Role::kVoter ? "voter" : "learner";
}

// A new leader counts everybody as heard of when it begins. Every answer names chosen slots, and a
// member that has none yet is as good as silent.
bool was_heard(const paxos::PeerProgress& peer) { return peer.chosen != Slot(); }

paxos::Member* member_of(paxos::Membership& membership, NodeId id) {
  const auto at = std::ranges::find(membership.members, id, &paxos::Member::id);
  return at == membership.members.end() ? nullptr : &*at;
}
}  // namespace

Members::Members(runtime::Runtime& runtime, observe::Log& log, Group& group, Identity identity)
    : runtime_(runtime),
      log_(log),
      group_(group),
      identity_(std::move(identity)),
      started_(runtime.now()) {}

void Members::heard(NodeId from, pb::PeerReport report) {
  // Of members only: nothing here grows by what strangers say.
  if (paxos::find_member(group_.membership(), from) == nullptr) return;
  report.mutable_stat()->set_id(from.raw());
  reports_[from] = Report{.stat = std::move(*report.mutable_stat()), .at = runtime_.now()};
}

void Members::met(NodeId from, std::string address, std::uint64_t repo_uuid) {
  if (paxos::find_member(group_.membership(), from) == nullptr) return;
  met_[from] = Met{.address = std::move(address), .repo_uuid = repo_uuid};
}

void Members::begin_reign() {
  watch_.forget();
  reports_.clear();
}

pb::MdsStat Members::own() {
  const Instant now = runtime_.now();
  const ProcessUsage usage = identity_.usage ? identity_.usage() : ProcessUsage();
  const auto statistics = group_.statistics();
  rates_.add(now, {static_cast<std::uint64_t>(statistics.busy.count()), statistics.commands,
                   usage.cpu_ns});
  pb::MdsStat stat;
  stat.set_id(identity_.mds_id.raw());
  stat.set_master(group_.leads());
  stat.set_status(group_.resyncing() || group_.recovering() ? "stale" : "avail");
  stat.set_ctime(rates_.per_second(now, 0) * 1e-9);
  stat.set_commits_per_s(rates_.per_second(now, 1));
  stat.set_cpu(rates_.per_second(now, 2) * 1e-9);
  stat.set_memory_bytes(usage.memory_bytes);
  stat.set_uptime_ns(static_cast<std::uint64_t>((now - started_).count()));
  stat.set_host(identity_.host);
  stat.set_address(identity_.address.to_string());
  stat.set_applied_slot(group_.applied_slot().raw());
  stat.set_version(kVersion);
  stat.set_repository(identity_.repository);
  stat.set_flushes(statistics.batches);
  return stat;
}

void Members::step(master::EventWriter* events, runtime::TaskGroup* tasks) {
  if (!group_.leads()) {
    pb::PeerReport report;
    *report.mutable_stat() = own();
    group_.report(std::move(report));
    return;
  }
  pb::MdsStat sampled = own();  // keeps the rates going
  (void)sampled;
  if (events == nullptr) return;
  for (const paxos::PeerProgress& peer : group_.peers()) {
    for (const PeerWatch::Event& event : watch_.look(peer, group_.chosen(), runtime_.now())) {
      events->write("JRN", event.severity, text_of(event.member) + " " + event.text);
    }
  }
  if (tasks != nullptr && !changing_) keep_members(*tasks);
}

void Members::resync(NodeId member, master::EventWriter* events) {
  const std::optional<PeerWatch::Event> event = watch_.resync(member, runtime_.now());
  if (!event.has_value()) return;
  const std::string text = text_of(member) + " " + event->text;
  if (events != nullptr) {
    events->write("JRN", event->severity, text);
  } else {
    log_.error("{}", text);
  }
}

MdsState Members::state_of(const paxos::PeerProgress& peer) const {
  if (!was_heard(peer)) return MdsState::kUnavail;
  const MdsState state = watch_.state(peer, group_.chosen(), runtime_.now());
  const auto report = reports_.find(peer.id);
  const bool stale = report != reports_.end() && report->second.stat.status() == "stale";
  return state == MdsState::kAvail && stale ? MdsState::kStale : state;
}

bool Members::surely_up(const paxos::PeerProgress& peer) const {
  const auto report = reports_.find(peer.id);
  if (report == reports_.end() || runtime_.now() - report->second.at > kHeardWithin) return false;
  return state_of(peer) == MdsState::kAvail;
}

// One change at a time; the next second does the next.
void Members::keep_members(runtime::TaskGroup& tasks) {
  const std::vector<paxos::PeerProgress> peers = group_.peers();
  for (const paxos::Member& member : group_.membership().members) {
    Met said{.address = identity_.address.to_string(), .repo_uuid = identity_.repo_uuid};
    if (member.id != identity_.mds_id) {
      const auto met = met_.find(member.id);
      said = met == met_.end() ? Met() : met->second;
    }
    if (said.repo_uuid == member.repo_uuid && !said.address.empty() &&
        said.address != member.address) {
      log_.info("MDS#{} moved from {} to {}", member.id.raw(), member.address, said.address);
      changing_ = true;
      tasks.spawn(change(this,
                         [id = member.id, address = said.address](
                             const paxos::Membership& now) -> Result<paxos::Membership> {
                           paxos::Membership next = now;
                           if (paxos::Member* moved = member_of(next, id)) moved->address = address;
                           return next;
                         }));
      return;
    }
    const auto progress = std::ranges::find(peers, member.id, &paxos::PeerProgress::id);
    if (member.role == paxos::Role::kVoter || progress == peers.end()) continue;
    if (!surely_up(*progress)) continue;  // its daemon may never have been started
    if (progress->chosen.raw() + kPromoteLag < group_.chosen().raw()) continue;
    log_.info("MDS#{} has caught up: it becomes a voter", member.id.raw());
    changing_ = true;
    tasks.spawn(
        change(this, [id = member.id](const paxos::Membership& now) -> Result<paxos::Membership> {
          paxos::Membership next = now;
          if (paxos::Member* learner = member_of(next, id)) learner->role = paxos::Role::kVoter;
          return next;
        }));
    return;
  }
}

Task<void> Members::change(Members* self, Group::Edit edit) {
  const Deadline deadline = self->runtime_.after(kChangePatience);
  const Result<paxos::Membership> changed =
      co_await self->group_.change_members(std::move(edit), deadline);
  if (!changed.has_value()) {
    self->log_.warning("a change of the members failed: {}", changed.error().to_string());
  }
  self->changing_ = false;
}

void Members::fill(pb::StatReply* reply) {
  const std::vector<paxos::PeerProgress> peers = group_.peers();
  for (const paxos::Member& member : group_.membership().members) {
    pb::MdsStat* stat = reply->add_mds();
    const auto progress = std::ranges::find(peers, member.id, &paxos::PeerProgress::id);
    if (member.id == identity_.mds_id) {
      *stat = own();
    } else {
      const auto report = reports_.find(member.id);
      if (report != reports_.end()) *stat = report->second.stat;
      const bool known = progress != peers.end();
      const MdsState state = known ? state_of(*progress) : MdsState::kUnavail;
      stat->set_status(mds_state_text(state));
      if (known) stat->set_applied_slot(std::max(stat->applied_slot(), progress->chosen.raw()));
      if (state == MdsState::kUnavail) {
        stat->set_ctime(0);
        stat->set_commits_per_s(0);
        stat->set_cpu(0);
      }
    }
    const std::uint64_t tip = group_.chosen().raw();
    stat->set_id(member.id.raw());
    stat->set_master(member.id == identity_.mds_id);
    stat->set_role(role_text(member.role));
    stat->set_address(member.address);
    stat->set_lag(tip > stat->applied_slot() ? tip - stat->applied_slot() : 0);
  }
}

std::string Members::master_address() const {
  const NodeId leader = group_.leader();
  if (leader == identity_.mds_id) return identity_.address.to_string();
  if (!leader.valid()) return {};
  const std::optional<net::Address> address = group_.address_of(leader);
  return address.has_value() ? address->to_string() : std::string();
}

std::vector<std::string> Members::addresses() const {
  std::vector<std::string> addresses;
  const std::string first = master_address();
  if (!first.empty()) addresses.push_back(first);
  for (const paxos::Member& member : group_.membership().members) {
    const std::optional<net::Address> address = group_.address_of(member.id);
    if (!address.has_value()) continue;
    std::string text = address->to_string();
    if (text != first) addresses.push_back(std::move(text));
  }
  return addresses;
}

std::string Members::text_of(NodeId member) const {
  const std::optional<net::Address> address =
      member == identity_.mds_id ? identity_.address : group_.address_of(member);
  return fmt::format("MDS#{} ({})", member.raw(),
                     address.has_value() ? address->to_string() : std::string("unknown address"));
}

std::size_t Members::voters_up(NodeId without) const {
  const std::vector<paxos::PeerProgress> peers = group_.peers();
  std::size_t up = 0;
  for (const paxos::Member& member : group_.membership().members) {
    if (member.role != paxos::Role::kVoter || member.id == without) continue;
    if (member.id == identity_.mds_id) {
      ++up;
      continue;
    }
    const auto progress = std::ranges::find(peers, member.id, &paxos::PeerProgress::id);
    if (progress != peers.end() && surely_up(*progress)) ++up;
  }
  return up;
}

}  // namespace cairn::mds::service
