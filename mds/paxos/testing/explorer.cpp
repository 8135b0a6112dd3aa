#include "mds/paxos/testing/explorer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/base/prng.h"

namespace cairn::mds::paxos::testing {

namespace {

constexpr Instant kNow = Instant::from_nanos(1'000'000'000);
constexpr Timing kTimeless{.heartbeat = 3600s,
                           .lease = 0ms,
                           .hold = 0ms,
                           .stagger = 0ms,
                           .campaign = 0ms,
                           .resend = 3600s};

std::string text(Ballot ballot) {
  return std::to_string(ballot.round) + "." + std::to_string(ballot.node.raw());
}

// Messages that only save time, or only tell of leases, are left out: nullopt.
struct Describe {
  std::optional<std::string> operator()(const Prepare& m) const {
    return "prepare " + text(m.ballot) + " " + std::to_string(m.chosen.raw());
  }
  std::optional<std::string> operator()(const Promise& m) const {
    std::string line = "promise " + text(m.ballot) + " " + std::to_string(m.chosen.raw());
    for (const Accepted& one : m.accepted) {
      line += " " + std::to_string(one.slot.raw()) + "=" + text(one.ballot) + text_of(one.value);
    }
    return line;
  }
  std::optional<std::string> operator()(const Accept& m) const {
    std::string line = "accept " + text(m.ballot) + " " + std::to_string(m.first.raw()) + " " +
                       std::to_string(m.chosen.raw());
    for (const Value& value : m.values) line += " " + text_of(value);
    return line;
  }
  std::optional<std::string> operator()(const AcceptedReply& m) const {
    return "accepted " + text(m.ballot) + " " + std::to_string(m.last.raw()) + " " +
           std::to_string(m.chosen.raw());
  }
  template <class Other>
  std::optional<std::string> operator()(const Other&) const {
    return std::nullopt;
  }
};

}  // namespace

std::uint32_t Explorer::letter_of(const Letter& letter) {
  const std::optional<std::string> line = std::visit(Describe{}, letter.message);
  if (!line.has_value()) return UINT32_MAX;
  const std::string name =
      std::to_string(letter.from.raw()) + std::to_string(letter.to.raw()) + *line;
  const auto [at, is_new] =
      letter_ids_.try_emplace(name, static_cast<std::uint32_t>(letters_.size()));
  if (is_new) {
    letters_.push_back(letter);
    ballots_.push_back(std::visit(
        [](const auto& m) {
          if constexpr (requires { Ballot(m.ballot); }) return m.ballot;
          return Ballot();
        },
        letter.message));
  }
  return at->second;
}

// ---- one member ----

void Explorer::propose_own(Replica& core, const Past& past) {
  if (!core.leads() || core.last_accepted() != core.chosen() || past.chosen.size() >= 2) return;
  std::string name = "of " + std::to_string(past.member);
  if (past.lives > 1) name += ", life " + std::to_string(past.lives);
  core.propose(1, command(name), kNow);
}

void Explorer::take_out(Replica& core, Past* past, std::vector<std::uint32_t>* sent) {
  propose_own(core, *past);
  Effects effects = core.take();
  core.check_invariants();
  if (!effects.records.empty()) past->last_record = effects.last_record;
  for (Record& record : effects.records) past->unwritten.push_back(std::move(record));
  for (const Outgoing& out : effects.messages) {
    if (const auto* promise = std::get_if<Promise>(&out.message)) {
      past->said = std::max(past->said, promise->ballot);
    }
    const auto* reply = std::get_if<AcceptedReply>(&out.message);
    if (reply != nullptr && reply->ballot < past->said) past->violation = "accepts below a promise";
    const std::uint32_t letter =
        letter_of({.from = id_of(past->member), .to = out.to, .message = out.message});
    if (letter != UINT32_MAX) sent->push_back(letter);
  }
  for (const Chosen& chosen : effects.chosen) {
    const std::string value = text_of(chosen.value);
    const auto [at, is_new] = past->chosen.emplace(chosen.slot, value);
    if (!is_new && at->second != value) past->violation = "changes its mind about a slot";
  }
}

void Explorer::put_in(Replica& core, const Input& input, const std::vector<Letter>& letters,
                      const Past& past) {
  switch (input.kind) {
    case Kind::kBegin:
    case Kind::kCrash:
      break;
    case Kind::kPersist:
      core.persisted(past.last_record, kNow);
      break;
    case Kind::kDeliver:
      core.receive(letters[input.letter].from, letters[input.letter].message, kNow);
      break;
    case Kind::kCampaign: {
      core.tick(kNow);
      // The pre-vote decides nothing: somebody agrees.
      const Effects effects = core.take();
      for (const Outgoing& out : effects.messages) {
        const auto* asked = std::get_if<PreVote>(&out.message);
        if (asked == nullptr) continue;
        core.receive(out.to, PreVoteReply{asked->ballot, true, {}, {}}, kNow);
        break;
      }
      break;
    }
  }
}

std::unique_ptr<Replica> Explorer::relive(std::uint32_t past) const {
  std::vector<std::uint32_t> steps;
  for (; pasts_[past].input.kind != Kind::kBegin && pasts_[past].input.kind != Kind::kCrash;
       past = pasts_[past].before) {
    steps.push_back(past);
  }
  const Past& start = pasts_[past];
  Membership group = members(3);
  group.version = 1;
  Durable durable = durable_of(group, Slot(), start.disk.promised);
  durable.chosen = start.disk.chosen;
  for (const auto& [slot, accepted] : start.disk.slots) durable.accepted.push_back(accepted);
  auto core = std::make_unique<Replica>(Options{.self = id_of(start.member),
                                                .timing = kTimeless,
                                                .limits = {},
                                                .seed = 1,
                                                .sabotage = plan_.sabotage},
                                        std::move(durable), kNow);
  core->take();
  for (auto at = steps.rbegin(); at != steps.rend(); ++at) {
    put_in(*core, pasts_[*at].input, letters_, pasts_[pasts_[*at].before]);
    propose_own(*core, pasts_[pasts_[*at].before]);
    core->take();
  }
  return core;
}

std::uint32_t Explorer::begin(std::uint32_t member) {
  pasts_.push_back({.member = member,
                    .before = 0,
                    .input = {},
                    .disk = {},
                    .unwritten = {},
                    .last_record = 0,
                    .chosen = {},
                    .lives = 1,
                    .said = {},
                    .violation = {}});
  return static_cast<std::uint32_t>(pasts_.size() - 1);
}

const Explorer::Step& Explorer::follow(std::uint32_t past, Input input) {
  const std::uint64_t name = std::uint64_t{past} << 32 |
                             std::uint64_t{static_cast<std::uint8_t>(input.kind)} << 28 |
                             input.letter;
  const auto known = continued_.find(name);
  if (known != continued_.end()) return known->second;
  Past next = pasts_[past];
  next.before = past;
  next.input = input;
  Step step;
  if (input.kind == Kind::kCrash) {
    next.unwritten.clear();
    next.last_record = 0;
    ++next.lives;
    step.past = static_cast<std::uint32_t>(pasts_.size());
    pasts_.push_back(std::move(next));
  } else {
    const std::unique_ptr<Replica> core = relive(past);
    put_in(*core, input, letters_, pasts_[past]);
    if (input.kind == Kind::kPersist) {
      for (const Record& record : next.unwritten) next.disk.write(record);
      next.unwritten.clear();
    }
    take_out(*core, &next, &step.sent);
    step.past = same_as(std::move(next), *core);
  }
  return continued_.emplace(name, std::move(step)).first->second;
}

std::uint32_t Explorer::same_as(Past past, const Replica& core) {
  const auto id = static_cast<std::uint32_t>(pasts_.size());
  if (!past.violation.empty()) {
    pasts_.push_back(std::move(past));
    return id;
  }
  std::string name = std::to_string(past.member) + "/" + std::to_string(past.lives) + core.dump() +
                     text(past.said) + text(past.disk.promised) +
                     std::to_string(past.disk.chosen.raw());
  for (const auto& [slot, accepted] : past.disk.slots) {
    name += "/" + std::to_string(slot.raw()) + text(accepted.ballot) + text_of(accepted.value);
  }
  for (const Record& record : past.unwritten) {
    name += "-" + std::to_string(record.index());
    const auto* accept = std::get_if<AcceptRecord>(&record);
    const auto* known = std::get_if<ChosenRecord>(&record);
    if (accept != nullptr) name += std::to_string(accept->slot.raw()) + text(accept->ballot);
    if (known != nullptr) name += std::to_string(known->slot.raw());
  }
  for (const auto& [slot, value] : past.chosen) name += "+" + value;
  const auto [at, is_new] = alike_.try_emplace(std::move(name), id);
  if (is_new) pasts_.push_back(std::move(past));
  return at->second;
}

// ---- all together ----

void Explorer::step(const World& world, std::uint32_t member, Input input,
                    std::vector<World>* next) {
  World after = world;
  take(&after, member, input);
  while (!plan_.slow_disks && !pasts_[after.pasts[member]].unwritten.empty()) {
    if (after.crashes < plan_.crashes && plan_.may_crash[member]) {
      World crashed = after;
      ++crashed.crashes;
      take(&crashed, member, {.kind = Kind::kCrash, .letter = 0});
      next->push_back(std::move(crashed));
    }
    take(&after, member, {.kind = Kind::kPersist, .letter = 0});
  }
  next->push_back(std::move(after));
}

void Explorer::take(World* world, std::uint32_t member, Input input) {
  const Step& step = follow(world->pasts[member], input);
  world->pasts[member] = step.past;
  for (const std::uint32_t letter : step.sent) {
    // Two that say the same are as good as one that is repeated.
    const auto at = std::ranges::lower_bound(world->letters, letter);
    if (at == world->letters.end() || *at != letter) world->letters.insert(at, letter);
  }
}

void Explorer::drop_refused(World* world) const {
  if (plan_.sabotage == Sabotage::kForgetPromise) return;
  std::erase_if(world->letters, [this, world](std::uint32_t letter) {
    const std::uint32_t to = letters_[letter].to.raw() - 1;
    return ballots_[letter] < pasts_[world->pasts[to]].disk.promised;
  });
}

std::vector<Explorer::World> Explorer::all_next(const World& world) {
  std::vector<World> next;
  for (const std::uint32_t letter : world.letters) {
    const auto to = static_cast<std::uint32_t>(letters_[letter].to.raw() - 1);
    World without = world;
    std::erase(without.letters, letter);
    step(without, to, {.kind = Kind::kDeliver, .letter = letter}, &next);
    if (world.repeats == plan_.repeats) continue;
    World again = world;
    ++again.repeats;
    step(again, to, {.kind = Kind::kDeliver, .letter = letter}, &next);
  }
  for (std::uint32_t member = 0; member < 3; ++member) {
    if (plan_.slow_disks && !pasts_[world.pasts[member]].unwritten.empty()) {
      step(world, member, {.kind = Kind::kPersist}, &next);
    }
    if (world.campaigns[member] < plan_.campaigns[member]) {
      World tried = world;
      ++tried.campaigns[member];
      step(tried, member, {.kind = Kind::kCampaign}, &next);
    }
    if (world.crashes < plan_.crashes && plan_.may_crash[member]) {
      World crashed = world;
      ++crashed.crashes;
      step(crashed, member, {.kind = Kind::kCrash}, &next);
    }
  }
  // In no order of preference, so that a fault is met soon.
  order_.shuffle(std::span(next));
  return next;
}

void Explorer::look_at(const World& world) {
  std::map<Slot, std::string> values;
  for (const std::uint32_t past : world.pasts) {
    if (!pasts_[past].violation.empty()) outcome_.violation = pasts_[past].violation;
    for (const auto& [slot, value] : pasts_[past].chosen) {
      const auto [at, is_new] = values.emplace(slot, value);
      if (!is_new && at->second != value) {
        outcome_.violation = "slot " + std::to_string(slot.raw()) +
                             " has two values: " + at->second + " and " + value;
      }
    }
  }
  if (!values.empty()) ++outcome_.ends[values.begin()->second];
}

bool Explorer::seen(const World& world) {
  std::uint64_t hash = 0;
  const auto add = [&hash](std::uint64_t number) { hash = Prng(hash ^ number).next(); };
  for (const std::uint32_t past : world.pasts) add(past);
  for (const std::uint32_t letter : world.letters) add(letter + 1'000'000);
  for (const unsigned tried : world.campaigns) add(tried + 2'000'000);
  add(world.crashes + 3'000'000);
  add(world.repeats + 4'000'000);
  return !seen_.insert(hash).second;
}

Outcome Explorer::explore() {
  World first;
  for (std::uint32_t member = 0; member < 3; ++member) first.pasts[member] = begin(member + 1);
  std::vector<World> open{first};
  seen(first);
  while (!open.empty() && outcome_.violation.empty() && outcome_.worlds < plan_.worlds_max) {
    const World world = std::move(open.back());
    open.pop_back();
    ++outcome_.worlds;
    look_at(world);
    for (World& next : all_next(world)) {
      drop_refused(&next);
      if (!seen(next)) open.push_back(std::move(next));
    }
  }
  outcome_.complete = open.empty();
  outcome_.lives = pasts_.size();
  return outcome_;
}

}  // namespace cairn::mds::paxos::testing
