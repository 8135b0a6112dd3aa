// The life of a member, and the steps of its core.
#include "tests/paxos/member.h"

#include <utility>

#include "tests/paxos/describe.h"

namespace cairn::paxos_sim {

namespace {
// A core that wants a tick at once, always, would stop virtual time.
constexpr Duration kTickSpacing = 20us;
constexpr Duration kTickLate = 200us;
}  // namespace

Member::Member(World& world, NodeId id, paxos::Membership bootstrap)
    : world_(world),
      id_(id),
      bootstrap_(std::move(bootstrap)),
      durable_tables_(bootstrap_),
      tables_(bootstrap_) {}

Member::~Member() = default;

// ---- life ----

void Member::start() {
  if (running() || destroyed_ || retired_) return;
  ++life_;
  Prng& prng = world_.prng;
  const Settings& settings = world_.settings;
  // The slowest beside the fastest is what a lease has to survive.
  std::int64_t rate = prng.chance(500) ? settings.rate_min : settings.rate_max;
  if (prng.chance(300)) {
    rate = settings.rate_min +
           static_cast<std::int64_t>(
               prng.below(static_cast<std::uint64_t>(settings.rate_max - settings.rate_min) + 1));
  }
  clock_ = DriftClock(draw(prng, 1s, 1000s), rate);
  tables_ = durable_tables_;
  if (settings.plan.driver_fault == DriverFault::kApplyTwice) tables_.forget_newest_slot();
  log_.truncate_through(tables_.log_floor());
  const LogImage& image = log_.image();
  paxos::Durable durable{.promised = image.promised,
                         .applied = tables_.applied(),
                         .membership = tables_.membership(),
                         .chosen = image.chosen,
                         .accepted = {},
                         .recovering = image.recovering,
                         .recover_until = image.recover_until};
  for (auto at = image.slots.upper_bound(tables_.applied()); at != image.slots.end(); ++at) {
    durable.accepted.push_back(at->second);
  }
  world_.say("{} starts: applied {} chosen {} promised {} accepted {}{}", name(),
             durable.applied.raw(), durable.chosen.raw(), to_string(durable.promised),
             durable.accepted.size(), durable.recovering ? " recovering" : "");
  emitted_ = last_chosen_ = durable.applied;
  last_promised_ = durable.promised;
  prepared_before_ = prepared_;
  core_ =
      std::make_unique<paxos::Replica>(paxos::Options{.self = id_,
                                                      .timing = world_.settings.timing,
                                                      .limits = world_.settings.limits,
                                                      .seed = prng.next(),
                                                      .sabotage = world_.settings.plan.sabotage},
                                       std::move(durable), local_now());
  plan_flush();
  step([](paxos::Replica&) {});
}

void Member::forget_life() {
  core_.reset();
  ++life_;
  paused_ = false;
  deferred_.clear();
  fuse_.reset();
  tick_at_.reset();
  to_apply_.clear();
  applying_ = log_busy_ = pulling_ = flushing_ = false;
  led_ = serving_ = {};
  last_token_ = 0;
  proposals_.clear();
  confirming_.clear();
  crash_in_write_ = false;
}

void Member::crash() {
  CHECK(running());
  const bool whole = world_.prng.chance(500);
  if (log_.writing()) ++(whole ? world_.stats.batches_kept : world_.stats.batches_lost);
  world_.say("{} crashes{}", name(),
             log_.writing() ? whole ? ", its batch is durable" : ", its batch is lost" : "");
  watch(log_.crash(whole));
  forget_life();
  ++world_.stats.crashes;
  const Duration down =
      world_.healed ? Duration(1ms) : draw(world_.prng, 100us, 2 * world_.settings.timing.hold);
  world_.schedule.after(down, [this, life = life_] {
    if (life == life_) start();
  });
}

bool Member::burn() {
  if (!fuse_.has_value()) return false;
  if (*fuse_ > 0) {
    --*fuse_;
    return false;
  }
  ++world_.stats.crashes_at_effect;
  crash();
  return true;
}

void Member::pause(Duration length) {
  CHECK(running());
  if (paused_) return;
  paused_ = true;
  world_.say("{} pauses", name());
  world_.schedule.after(length, [this, life = life_, number = ++pauses_] {
    if (life == life_ && number == pauses_) resume();
  });
}

void Member::resume() {
  if (!paused_) return;
  paused_ = false;
  ++pauses_;
  world_.say("{} goes on", name());
  std::vector<Schedule::Action> actions = std::exchange(deferred_, {});
  world_.prng.shuffle(std::span(actions));
  const std::uint64_t life = life_;
  for (const Schedule::Action& action : actions) {
    if (life != life_) return;
    action();
  }
}

void Member::lose_log(bool tables_too) {
  CHECK(!running());
  world_.say("{} loses its log{}", name(), tables_too ? " and its tables" : "");
  log_.lose_everything();
  prepared_ = logged_ = {};
  if (tables_too) durable_tables_ = Tables(paxos::Membership());
  log_.truncate_through(durable_tables_.applied());
}

void Member::destroy() {
  world_.say("{} is destroyed", name());
  if (running()) {
    log_.crash(false);
    forget_life();
  }
  destroyed_ = true;
}

void Member::retire() {
  world_.say("{} stops, it was removed", name());
  log_.crash(false);
  forget_life();
  retired_ = true;
}

void Member::post(Duration delay, Schedule::Action action) {
  world_.schedule.after(delay, [this, life = life_, action = std::move(action)] {
    if (life != life_) return;
    if (paused_) {
      deferred_.push_back(action);
    } else {
      action();
    }
  });
}

std::string Member::name() const { return fmt::format("mds{}", id_.raw()); }

bool Member::may_serve() const { return running() && core_->may_serve(local_now()); }

Slot Member::durably_known() const {
  return std::max(durable_tables_.applied(), log_.image().chosen);
}

// ---- the core ----

bool Member::step(const std::function<void(paxos::Replica&)>& input) {
  const std::uint64_t life = life_;
  input(*core_);
  paxos::Effects effects = core_->take();
  core_->check_invariants();
  carry_out(std::move(effects));
  if (life != life_) return false;
  check_step();
  finish_confirmed();
  arm_tick();
  return true;
}

void Member::check_step() {
  const auto wrong = [this](const char* what) {
    world_.oracle.violation(fmt::format("member {}: {}", id_.raw(), what));
  };
  if (core_->chosen() < last_chosen_) wrong("chosen() went back");
  if (core_->promised() < last_promised_) wrong("promised() went back");
  if (core_->leads() != led_.valid()) wrong("leads() differs from what the notices said");
  if (core_->may_serve(local_now()) && !led_.valid()) wrong("serves without being elected");
  if (core_->chosen() != emitted_) wrong("chosen() differs from what was given out");
  last_chosen_ = core_->chosen();
  last_promised_ = core_->promised();
  if (last_chosen_ > world_.oracle.chosen_slot()) return;  // reported already
  const paxos::Membership& truth = world_.oracle.config_of(last_chosen_.next());
  const paxos::Membership& seen = core_->membership();
  // One that is new knows no membership before it has learned its first slot.
  if (seen.version != truth.version) wrong("membership() is not that of chosen()");
}

void Member::carry_out(paxos::Effects effects) {
  const std::uint64_t life = life_;
  for (const paxos::Chosen& chosen : effects.chosen) {
    world_.oracle.chosen(id_, chosen.slot, chosen.value);
    if (world_.settings.plan.white_box) watch_chosen(chosen.slot);
  }
  if (world_.settings.messages_first) {
    if (!send_all(effects.messages) || !hand_over(&effects)) return;
  } else {
    if (!hand_over(&effects) || !send_all(effects.messages)) return;
  }
  queue_chosen(std::move(effects.chosen));
  for (const paxos::Notice& notice : effects.notices) queue_notice(notice);
  apply_soon();
  if (life != life_) return;
  for (const paxos::SendChosen& what : effects.send_chosen) {
    post(draw(world_.prng, 1us, 300us), [this, what] { send_from_log(what); });
  }
}

bool Member::hand_over(paxos::Effects* effects) {
  if (effects->records.empty()) return true;
  if (burn()) return false;
  for (const paxos::Record& record : effects->records) {
    if (world_.trace.verbose()) world_.say("{}    log {}", name(), describe(record));
  }
  log_.hand_over(std::move(effects->records), effects->last_record);
  if (log_busy_) return true;
  log_busy_ = true;
  // What comes in the meantime goes into the same batch.
  post(draw(world_.prng, 0us, 50us), [this] { start_write(); });
  return true;
}

bool Member::send_all(const std::vector<paxos::Outgoing>& messages) {
  for (const paxos::Outgoing& out : messages) {
    if (burn()) return false;
    if (world_.settings.plan.white_box) watch_message(out);
    world_.send(id_, out.to, out.message);
  }
  return true;
}

void Member::arm_tick() {
  const Instant next = core_->next_tick();
  if (next >= Instant::infinite()) return;
  const Duration now = world_.schedule.now();
  const Duration at = std::max(clock_.reaches(next), now + kTickSpacing);
  if (tick_at_.has_value() && *tick_at_ <= at) return;
  const Duration late = draw(world_.prng, 0us, kTickLate);
  tick_at_ = at + late;
  post(at + late - now, [this, number = ++tick_number_] {
    if (number != tick_number_) return;
    tick_at_.reset();
    step([this](paxos::Replica& core) { core.tick(local_now()); });
  });
}

// ---- inputs ----

void Member::receive(NodeId from, std::shared_ptr<const paxos::Message> message) {
  if (paused_) {
    deferred_.push_back([this, from, message] { receive(from, message); });
    return;
  }
  if (world_.trace.verbose()) {
    world_.say("{} <- {}  {}", id_.raw(), from.raw(), describe(*message));
  }
  step([this, from, &message](paxos::Replica& core) { core.receive(from, *message, local_now()); });
}

bool Member::change_members(const paxos::Membership& next) {
  if (!running() || paused_) return false;
  const std::uint64_t token = ++last_token_;
  const paxos::Value value{
      .kind = paxos::ValueKind::kMembership,
      .bytes = std::make_shared<const std::string>(paxos::encode_membership(next))};
  proposals_[token] = {.request = std::nullopt, .hash = hash_of(value)};
  bool taken = false;
  step([&](paxos::Replica& core) {
    taken = core.propose_membership(token, next, local_now());
    if (!taken) proposals_.erase(token);
  });
  return taken;
}

bool Member::yield(NodeId to) {
  if (!running() || paused_) return false;
  bool yielded = false;
  step([&](paxos::Replica& core) { yielded = core.yield(to, local_now()); });
  return yielded;
}

}  // namespace cairn::paxos_sim
