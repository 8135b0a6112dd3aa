#include "mds/replication/group.h"

#include <utility>

#include "common/base/limits.h"
#include "mds/replication/peer_codec.h"

namespace cairn::mds::replication {

Group::Group(runtime::Runtime& runtime, observe::Log& log, TableVault& vault, LogStore& store,
             PeerTransport& peers, MakeCaller make_caller, Options options, Owner& owner)
    : runtime_(runtime),
      log_(log),
      vault_(vault),
      store_(store),
      transport_(peers),
      make_caller_(std::move(make_caller)),
      options_(std::move(options)),
      owner_(owner),
      tasks_(runtime),
      applier_(runtime, log, vault, store, options_.tables,
               [this](std::uint64_t mark, Slot slot) { take_digest(mark, slot); }),
      records_wait_(runtime) {}

Group::~Group() { CHECK(core_ == nullptr || stopping_); }

Status Group::start() {
  TRY_VOID(applier_.open());
  paxos::Durable durable;
  const LogState state = store_.state();
  durable.promised = state.promised;
  durable.applied = applier_.applied_slot();
  durable.chosen = state.chosen;
  durable.recovering = state.recovering;
  durable.recover_until = state.recovering ? state.recover_until : Slot();
  TRY(durable.accepted, store_.accepted_after(durable.applied));
  TRY(durable.membership, applier_.membership());
  if (durable.membership.members.empty()) durable.membership = options_.bootstrap;
  TRY_VOID(judge_what_is_left(state, &durable));
  log_.info("tables at slot {}, log with {} later slots, chosen up to {}, {} members",
            durable.applied.raw(), durable.accepted.size(), durable.chosen.raw(),
            durable.membership.members.size());
  known_ = durable.membership;
  core_ = std::make_unique<paxos::Replica>(paxos::Options{.self = options_.self,
                                                          .timing = options_.timing,
                                                          .limits = options_.limits,
                                                          .seed = runtime_.random(),
                                                          .sabotage = paxos::Sabotage::kNone},
                                           std::move(durable), runtime_.now());
  // What the tables say, too: the process may have died before it kept that, or was removed while
  // it was down.
  if (core_->membership().version != 0) owner_.on_membership(core_->membership());
  transport_.start([this](NodeId from, std::string bytes) { receive(from, bytes); });
  dial();
  tasks_.spawn(write_log(this));
  // The tables can be ahead of the log: they were flushed while a write of the log was under way,
  // or are a snapshot. Then an accept record that lies below them may be of a value that was not
  // chosen.
  if (state.chosen < applier_.applied_slot()) tasks_.spawn(cut_log(this, applier_.applied_slot()));
  pump();
  return {};
}

// A member that lost its log, or the tables that its log goes on from, may not vote as if nothing
// had happened: it has forgotten what it promised, or what is chosen. The others tell it; if there
// are none, nobody can.
Status Group::judge_what_is_left(const LogState& state, paxos::Durable* durable) const {
  const bool log_lost = options_.log_lost || (state.empty && durable->applied != Slot());
  const Slot first = store_.first_slot();
  const bool tables_lost =
      state.chosen > durable->applied && (first == Slot() || first > durable->applied.next());
  if (!log_lost && !tables_lost) return {};
  const bool alone = durable->membership.members.empty() ? tables_lost && options_.seeds.empty()
                                                         : paxos::voters(durable->membership) == 1;
  const char* what = log_lost ? "log" : "db";
  if (alone) {
    return fail(
        Code::kCorrupt,
        fmt::format("the directory {} is gone or older than the rest of the repository, and "
                    "this is the only MDS of its cluster: nobody else has what was in it. "
                    "Put it back",
                    what));
  }
  if (tables_lost) {
    log_.error("the tables end at slot {}, the log begins at slot {}: a full resync follows",
               durable->applied.raw(), first.raw());
  }
  durable->recovering = true;
  return {};
}

Task<Status> Group::stop() {
  stopping_ = true;
  *alive_ = false;
  records_wait_.notify_all();
  if (timer_ != 0) runtime_.cancel(std::exchange(timer_, 0));
  for (auto& [id, gone] : departed_) runtime_.cancel(gone.forget);
  departed_.clear();
  refuse_all(Error(Code::kCancelled, "the MDS is stopping"));
  co_await tasks_.join();
  if (failed_) {
    // Nothing more is made of tables or log that failed.
    co_await applier_.pause();
    co_return Status();
  }
  if (core_ != nullptr && applied_slot() > store_.state().chosen) {
    // All that is applied is in the log: so the next life may tell others.
    std::vector<paxos::Record> last;
    last.emplace_back(paxos::ChosenRecord{.slot = applied_slot()});
    Status marked = co_await store_.append(std::move(last));
    if (!marked.has_value()) co_return marked;
  }
  Status stopped = co_await applier_.stop();
  co_return stopped;
}

// ---- proposals ----

Task<Result<std::string>> Group::propose(std::string command) {
  if (failed_) co_return fail(Code::kDiskFailed, "the log or the tables failed");
  if (stopping_) co_return fail(Code::kCancelled, "the MDS is stopping");
  if (!leads()) co_return fail(Code::kNotMaster, "this MDS is not the master");
  if (queue_.size() >= kQueueMax) co_return fail(Code::kOverloaded, "too many commands wait");
  if (command.size() > kCommandBytesMax) {
    co_return fail(Code::kTooBig, "the command does not fit into the log");
  }
  runtime::Completion<Result<std::string>> done(runtime_);
  queue_.push_back(
      Waiting{.command = std::make_shared<const std::string>(std::move(command)), .done = done});
  pump_soon();
  Result<std::string> answer = co_await done.wait();
  co_return answer;
}

void Group::submit_waiting() {
  while (!queue_.empty()) {
    paxos::Value value{.kind = paxos::ValueKind::kCommand, .bytes = queue_.front().command};
    const std::uint64_t token = last_token_ + 1;
    if (!core_->propose(token, std::move(value), runtime_.now())) return;
    last_token_ = token;
    answers_.emplace(token, std::move(queue_.front().done));
    queue_.pop_front();
  }
}

void Group::refuse_all(const Error& error) {
  for (Waiting& waiting : queue_) waiting.done.set(fail(error));
  queue_.clear();
  for (auto& [token, done] : answers_) done.set(fail(error));
  answers_.clear();
  for (auto& [round, done] : confirming_) done.set(Status(fail(error)));
  confirming_.clear();
}

Task<Status> Group::confirm() {
  if (may_serve()) co_return Status();
  if (failed_) co_return fail(Code::kDiskFailed, "the log or the tables failed");
  if (stopping_) co_return fail(Code::kCancelled, "the MDS is stopping");
  if (!leads()) co_return fail(Code::kNotMaster, "this MDS is not the master");
  const std::uint64_t round = core_->confirm(runtime_.now());
  runtime::Completion<Status> done(runtime_);
  confirming_.emplace(round, done);
  pump_soon();
  Status status = co_await done.wait();
  co_return status;
}

void Group::answer_confirmed() {
  const std::uint64_t round = core_->confirmed_round();
  while (!confirming_.empty() && confirming_.begin()->first <= round) {
    confirming_.begin()->second.set(Status());
    confirming_.erase(confirming_.begin());
  }
}

bool Group::may_serve() const {
  return core_ != nullptr && !failed_ && !stopping_ && core_->may_serve(runtime_.now());
}

Task<Result<paxos::Membership>> Group::change_members(Edit edit, Deadline deadline) {
  for (;;) {
    if (failed_ || stopping_) co_return fail(Code::kCancelled, "the MDS is stopping");
    if (!leads()) co_return fail(Code::kNotMaster, "this MDS is not the master");
    Result<paxos::Membership> next = edit(core_->membership());
    if (!next.has_value()) co_return next;
    if (next->members == core_->membership().members) co_return next;
    next->version = core_->membership().version + 1;
    const std::uint64_t token = last_token_ + 1;
    if (core_->propose_membership(token, *next, runtime_.now())) {
      last_token_ = token;
      runtime::Completion<Result<std::string>> done(runtime_);
      answers_.emplace(token, done);
      pump_soon();
      const Result<std::string> answer = co_await done.wait();
      if (!answer.has_value()) co_return fail(answer.error());
      co_return next;
    }
    if (runtime_.now() >= deadline) {
      co_return fail(Code::kTimeout, "another change of the members is still under way");
    }
    co_await runtime::sleep_for(runtime_, 50ms);
  }
}

bool Group::yield(NodeId to) {
  if (!leads()) return false;
  const bool yielded = core_->yield(to, runtime_.now());
  pump_soon();
  return yielded;
}

// ---- the loop around the core ----

void Group::receive(NodeId from, const std::string& bytes) {
  if (stopping_ || failed_) return;
  Result<PeerMessage> message = decode_peer_message(bytes);
  if (!message.has_value()) {
    log_.warning("MDS#{} sent an unreadable message: {}", from.raw(), message.error().message());
    return;
  }
  if (pb::PeerReport* report = std::get_if<pb::PeerReport>(&*message)) {
    owner_.on_report(from, std::move(*report));
    return;
  }
  core_->receive(from, std::get<paxos::Message>(*message), runtime_.now());
  pump();
}

void Group::pump_soon() {
  if (pump_scheduled_) return;
  pump_scheduled_ = true;
  runtime_.post([this, alive = alive_] {
    if (!*alive) return;
    pump_scheduled_ = false;
    pump();
  });
}

void Group::pump() {
  if (pumping_ || failed_ || stopping_) return;
  pumping_ = true;
  submit_waiting();
  paxos::Effects effects = core_->take();
  carry_out(std::move(effects));
  pumping_ = false;
  if (failed_) return;
  answer_confirmed();
  arm_timer();
}

void Group::carry_out(paxos::Effects effects) {
  if (!effects.records.empty()) {
    for (paxos::Record& record : effects.records) records_.push_back(std::move(record));
    last_record_ = effects.last_record;
    records_wait_.notify_all();
  }
  send(effects.messages);
  if (!effects.chosen.empty()) apply(std::move(effects.chosen));
  if (failed_) return;
  for (const paxos::Notice& what : effects.notices) notice(what);
  for (const paxos::SendChosen& what : effects.send_chosen) {
    if (!sending_to_.insert(what.to).second) continue;
    to_send_.push_back({.after_record = last_record_, .what = what, .last = applied_slot()});
  }
  start_sending();
}

// Only when the newest record of a slot is in the log, the log has its chosen value.
void Group::start_sending() {
  while (!to_send_.empty() && to_send_.front().after_record <= persisted_) {
    const Sending next = to_send_.front();
    to_send_.pop_front();
    tasks_.spawn(send_chosen(this, next.what, next.last));
  }
}

void Group::send(const std::vector<paxos::Outgoing>& messages) {
  for (const paxos::Outgoing& out : messages) {
    transport_.send(out.to, std::make_shared<const std::string>(encode_peer_message(out.message)));
  }
}

void Group::apply(std::vector<paxos::Chosen> chosen) {
  if (installing_) {
    std::move(chosen.begin(), chosen.end(), std::back_inserter(deferred_));
    return;
  }
  Result<std::vector<std::string>> answers = applier_.apply(chosen);
  if (!answers.has_value()) {
    fail_now(answers.error());
    return;
  }
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i].token == 0) continue;
    const auto at = answers_.find(chosen[i].token);
    if (at == answers_.end()) continue;
    at->second.set(std::move((*answers)[i]));
    answers_.erase(at);
  }
}

void Group::notice(const paxos::Notice& what) {
  if (std::holds_alternative<paxos::Elected>(what)) {
    // A reign reads the tables.
    if (installing_) {
      elected_late_ = true;
    } else {
      owner_.on_elected();
    }
  } else if (std::holds_alternative<paxos::Deposed>(what)) {
    refuse_all(Error(Code::kNotMaster, "this MDS is not the master any more"));
    if (!std::exchange(elected_late_, false)) owner_.on_deposed();
  } else if (const auto* leader = std::get_if<paxos::LeaderChanged>(&what)) {
    log_.info("{}", leader->leader.valid() ? fmt::format("MDS#{} leads", leader->leader.raw())
                                           : std::string("no leader is known"));
  } else if (const auto* members = std::get_if<paxos::MembershipChanged>(&what)) {
    part_with_removed(members->membership);
    dial();
    owner_.on_membership(members->membership);
  } else if (const auto* need = std::get_if<paxos::NeedSnapshot>(&what)) {
    if (pulling_) return;
    pulling_ = true;
    owner_.on_resync(options_.self);
    tasks_.spawn(pull_snapshot(this, need->from));
  }
}

void Group::arm_timer() {
  const Instant next = core_->next_tick();
  if (timer_ != 0 && timer_at_ == next) return;
  if (timer_ != 0) runtime_.cancel(std::exchange(timer_, 0));
  if (next >= Instant::infinite()) return;
  timer_at_ = next;
  timer_ = runtime_.schedule(next, [this] {
    timer_ = 0;
    core_->tick(runtime_.now());
    pump();
  });
}

Task<void> Group::write_log(Group* self) {
  for (;;) {
    if (self->records_.empty()) {
      if (self->stopping_ || self->failed_) co_return;
      co_await self->records_wait_.wait();
      continue;
    }
    std::vector<paxos::Record> batch = std::exchange(self->records_, {});
    const std::uint64_t last = self->last_record_;
    self->busy_since_ = self->runtime_.now();
    const Status written = co_await self->store_.append(std::move(batch));
    self->statistics_.busy += self->runtime_.now() - *self->busy_since_;
    self->busy_since_.reset();
    if (!written.has_value()) {
      self->fail_now(written.error());
      co_return;
    }
    self->persisted_ = last;
    self->core_->persisted(last, self->runtime_.now());
    self->pump();
  }
}

void Group::fail_now(const Error& error) {
  if (failed_) return;
  failed_ = true;
  if (timer_ != 0) runtime_.cancel(std::exchange(timer_, 0));
  records_wait_.notify_all();
  refuse_all(error);
  owner_.on_failure(error);
}

ReplicatedLog::Statistics Group::statistics() const {
  Statistics statistics = statistics_;
  statistics.commands = applier_.commands();
  statistics.batches = store_.flushes();
  if (busy_since_.has_value()) statistics.busy += runtime_.now() - *busy_since_;
  return statistics;
}

const Group::Digest* Group::digest(std::uint64_t mark) const {
  const auto at = digests_.find(mark);
  return at == digests_.end() ? nullptr : &at->second;
}

}  // namespace cairn::mds::replication
