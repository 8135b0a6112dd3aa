#include "tests/paxos/run.h"

#include <algorithm>

#include "tests/paxos/client.h"
#include "tests/paxos/describe.h"
#include "tests/paxos/member.h"
#include "tests/paxos/nemesis.h"

namespace cairn::paxos_sim {

namespace {

// Of one member in one `hold`, when nobody asks for anything: heartbeats and their answers, and
// what one
// that is cut off tries. A storm is thousands.
constexpr std::uint64_t kCalmMessages = 150;

class Run {
 public:
  explicit Run(const Plan& plan) : world_(draw_settings(plan)), nemesis_(world_) {}

  Outcome run() {
    begin();
    world_.run(world_.settings.faults_for, [] { return false; });
    if (!world_.oracle.failed()) converge();
    if (!world_.oracle.failed()) stay_calm();
    if (!world_.oracle.failed()) check_end();
    if (!world_.oracle.failed()) check_histories();
    return Outcome{.failure = world_.oracle.failure(),
                   .trace_hash = world_.trace.hash(),
                   .stats = statistics()};
  }

 private:
  void begin() {
    const Settings& s = world_.settings;
    world_.say("{} founders, {} clients, {} keys, hold {} ms, lease {} ms", s.founders, s.clients,
               s.keys, s.timing.hold.count() / 1'000'000, s.timing.lease.count() / 1'000'000);
    for (End i = 0; i < s.clients; ++i) {
      world_.clients.push_back(std::make_unique<Client>(world_, kFirstClient + i));
    }
    for (const NodeId id : world_.ids()) {
      world_.schedule.after(draw(world_.prng, 0us, s.timing.hold),
                            [member = world_.member(id)] { member->start(); });
    }
    for (const auto& client : world_.clients) client->start();
    nemesis_.start();
  }

  bool agreed() {
    for (const auto& client : world_.clients) {
      if (!client->finished()) return false;
    }
    const Slot newest = world_.oracle.chosen_slot();
    for (const paxos::Member& listed : world_.oracle.newest().members) {
      const Member* member = world_.member(listed.id);
      if (member == nullptr || !member->running()) return false;
      if (member->tables().applied() != newest || !member->applied_all()) return false;
      if (member->core().recovering()) return false;
    }
    return true;
  }

  void converge() {
    world_.say("---- everything is repaired ----");
    nemesis_.stop();
    const Duration begun = world_.schedule.now();
    for (const auto& client : world_.clients) client->finish();
    std::uint64_t turn = 0;
    const bool done = world_.run(begun + world_.settings.converge_within,
                                 [&] { return ++turn % 16 == 0 && agreed(); });
    const Duration took = world_.schedule.now() - begun;
    converge_ms_ = static_cast<std::uint64_t>(took.count() / 1'000'000);
    converge_holds_ = static_cast<std::uint64_t>(took / world_.settings.timing.hold) + 1;
    if (!done && !world_.oracle.failed()) world_.oracle.violation("no agreement: " + state());
  }

  // Without faults nobody takes the mastership away; nor does a voter that comes back from behind a
  // partition.
  void stay_calm() {
    const Duration hold = world_.settings.timing.hold;
    const auto never = [] { return false; };
    // A refusal that was on its way for seconds may depose a master; that is no fault of theirs.
    world_.lost_before = world_.schedule.now();
    world_.run(world_.schedule.now() + hold, never);
    const Member* master = world_.master();
    if (master == nullptr || !master->may_serve()) {
      world_.oracle.violation("nobody serves, though nothing is broken: " + state());
      return;
    }
    const std::uint64_t elections = world_.stats.elections;
    const std::uint64_t depositions = world_.stats.depositions;
    world_.say("---- calm ----");
    cut_off_one(*master, 3 * hold);
    const std::uint64_t messages = world_.messages;
    constexpr int kHolds = 6;
    world_.run(world_.schedule.now() + kHolds * hold, never);
    if (world_.oracle.failed()) return;
    if (world_.stats.elections != elections || world_.stats.depositions != depositions) {
      world_.oracle.violation("the master was changed, though it was well: " + state());
    }
    const std::uint64_t said = world_.messages - messages;
    if (said > kHolds * kCalmMessages * world_.members.size()) {
      world_.oracle.violation(fmt::format("{} messages though nothing happens", said));
    }
    for (const auto& [id, member] : world_.members) {
      if (member->running() && !member->answered_all()) {
        world_.oracle.violation(fmt::format("mds{} never answered", id.raw()));
      }
    }
  }

  // Some voter that a majority can do without.
  void cut_off_one(const Member& master, Duration length) {
    const paxos::Membership& members = world_.oracle.newest();
    if (paxos::voters(members) - 1 < paxos::majority(members)) return;
    const paxos::Member& victim = members.members[world_.prng.below(members.members.size())];
    if (victim.id == master.id()) return;
    const Duration until = world_.schedule.now() + length;
    for (const NodeId other : world_.ids()) {
      if (other == victim.id) continue;
      world_.network.cut_link(end_of(other), end_of(victim.id), until);
      world_.network.cut_link(end_of(victim.id), end_of(other), until);
    }
  }

  std::string state() {
    std::string text = fmt::format("chosen {} members {};", world_.oracle.chosen_slot().raw(),
                                   describe(world_.oracle.newest()));
    for (const auto& [id, member] : world_.members) {
      text += fmt::format(" mds{}", id.raw());
      if (!member->running()) {
        text += member->retired() ? " stopped," : " down,";
        continue;
      }
      text += fmt::format(" applied {} chosen {} promised {} follows {}{}{},",
                          member->tables().applied().raw(), member->core().chosen().raw(),
                          to_string(member->core().promised()), member->core().leader().raw(),
                          member->serving() ? " serves" : "",
                          member->core().recovering() ? " recovering" : "");
    }
    for (std::size_t i = 0; i < world_.clients.size(); ++i) {
      if (!world_.clients[i]->finished()) text += fmt::format(" client {} waits", i);
    }
    return text;
  }

  // What clients were told is in the tables of everybody.
  void check_end() {
    for (const paxos::Member& listed : world_.oracle.newest().members) {
      const Tables& tables = world_.member(listed.id)->tables();
      if (tables.digest() != tables.recomputed()) {
        world_.oracle.violation(fmt::format("the digest of mds{} is not kept up", listed.id.raw()));
      }
      for (const auto& [session, seq] : world_.oracle.answered_sessions()) {
        const Tables::SessionRow* row = tables.session(session);
        if (row == nullptr || row->seq < seq) {
          world_.oracle.violation(fmt::format("mds{} has lost request {} of session {}",
                                              listed.id.raw(), seq, session));
        }
      }
    }
  }

  void check_histories() {
    for (const auto& client : world_.clients) client->close();
    for (std::size_t key = 0; key < world_.histories.size(); ++key) {
      switch (check_linearizable(history_of(key))) {
        case Verdict::kLinearizable:
          break;
        case Verdict::kGaveUp:
          ++world_.stats.histories_given_up;
          break;
        case Verdict::kNot:
          world_.oracle.violation(
              fmt::format("the history of register {} is not linearizable", key));
      }
    }
  }

  // What a client gave up has its effect at any time after the call; whether it had one at all is
  // known by now.
  std::vector<Operation> history_of(std::size_t key) {
    std::vector<Operation> history;
    for (const Seen& seen : world_.histories[key]) {
      history.push_back(seen.operation);
      if (seen.operation.returned != kNeverReturned) continue;
      const std::optional<std::uint64_t> result = world_.oracle.result_of({seen.session, seen.seq});
      if (!result.has_value()) {
        history.pop_back();
        continue;
      }
      history.back().returned = world_.tell_time();
      history.back().result = *result;
    }
    return history;
  }

  Stats statistics() {
    Stats& stats = world_.stats;
    stats.seeds = 1;
    stats.events = world_.schedule.events();
    stats.slots = world_.oracle.chosen_slot().raw();
    stats.converge_ms = converge_ms_;
    stats.converge_holds = converge_holds_;
    const auto& configs = world_.oracle.configs();
    for (std::size_t i = 1; i < configs.size(); ++i) {
      count_change(configs[i - 1].second, configs[i].second, &stats);
    }
    return stats;
  }

  static void count_change(const paxos::Membership& from, const paxos::Membership& to,
                           Stats* stats) {
    for (const paxos::Member& after : to.members) {
      const paxos::Member* before = paxos::find_member(from, after.id);
      if (before == nullptr) {
        ++stats->members_added;
      } else {
        if (before->role != after.role) ++stats->members_promoted;
        if (before->address != after.address) ++stats->addresses_changed;
      }
    }
    for (const paxos::Member& before : from.members) {
      if (paxos::find_member(to, before.id) == nullptr) ++stats->members_removed;
    }
  }

  World world_;
  Nemesis nemesis_;
  std::uint64_t converge_ms_ = 0;
  std::uint64_t converge_holds_ = 0;
};

}  // namespace

Outcome run_seed(const Plan& plan) {
  const auto run = std::make_unique<Run>(plan);
  return run->run();
}

}  // namespace cairn::paxos_sim
