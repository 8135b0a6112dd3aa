// How a member answers clients: writes through the log, reads from its tables under the lease.
#include <utility>

#include "tests/paxos/member.h"

namespace cairn::paxos_sim {

void Member::serve(const Request& request) {
  if (paused_) {
    deferred_.push_back([this, request] { serve(request); });
    return;
  }
  if (!serving()) {
    answer(request, ReplyStatus::kNotMaster, 0);
  } else if (request.op.kind == OpKind::kRead) {
    read(request);
  } else {
    write(request);
  }
}

void Member::answer(const Request& request, ReplyStatus status, std::uint64_t result) {
  world_.reply(
      id_, request.client,
      Reply{.session = request.session,
            .seq = request.seq,
            .status = status,
            .result = result,
            .leader = status == ReplyStatus::kNotMaster && running() ? core_->leader() : NodeId()});
}

void Member::write(const Request& request) {
  if (const Tables::SessionRow* row = tables_.session(request.session); row != nullptr) {
    // What is applied is chosen, for ever: no lease is needed to repeat an answer.
    if (row->seq == request.seq) answer(request, ReplyStatus::kOk, row->result);
    if (row->seq >= request.seq) return;
  }
  paxos::Value value{
      .kind = paxos::ValueKind::kCommand,
      .bytes = std::make_shared<const std::string>(encode(Command{.session = request.session,
                                                                  .seq = request.seq,
                                                                  .key = request.key,
                                                                  .op = request.op,
                                                                  .padding = request.padding}))};
  const std::uint64_t token = ++last_token_;
  proposals_[token] = {.request = request, .hash = hash_of(value)};
  bool taken = false;
  const bool survived = step([&](paxos::Replica& core) {
    taken = core.propose(token, std::move(value), local_now());
    if (!taken) proposals_.erase(token);
  });
  if (!survived || taken) return;
  ++world_.stats.proposals_refused;
  answer(request, led_.valid() ? ReplyStatus::kOverloaded : ReplyStatus::kNotMaster, 0);
}

void Member::read(const Request& request) {
  const Reading reading{
      .request = request, .result = tables_.read(request.key), .reign = serving_, .round = 0};
  Prng& prng = world_.prng;
  // Between the evaluation and the check the process may be stopped for as long as it likes.
  const Settings& settings = world_.settings;
  if (prng.chance(400)) {
    finish_read(reading);
    return;
  }
  const Duration between = prng.chance(settings.slow_read_per_mille)
                               ? draw(prng, 0us, settings.slow_read_max)
                               : draw(prng, 0us, 300us);
  post(between, [this, reading] { finish_read(reading); });
}

void Member::finish_read(Reading reading) {
  const bool same_reign = serving_ == reading.reign && led_.valid();
  const DriverFault fault = world_.settings.plan.driver_fault;
  const bool careless = fault == DriverFault::kServeAcrossReigns;
  if (!same_reign && !(careless && led_.valid())) {
    ++world_.stats.reads_refused;
    answer(reading.request, ReplyStatus::kNotMaster, 0);
    return;
  }
  if (core_->may_serve(local_now()) || fault == DriverFault::kNoLeaseCheck) {
    ++world_.stats.reads_by_lease;
    answer(reading.request, ReplyStatus::kOk, reading.result);
    return;
  }
  step([this, &reading](paxos::Replica& core) {
    reading.round = core.confirm(local_now());
    confirming_.push_back(std::move(reading));
  });
}

void Member::finish_confirmed() {
  const std::uint64_t round = core_->confirmed_round();
  std::erase_if(confirming_, [this, round](const Reading& reading) {
    if (reading.round > round) return false;
    ++world_.stats.reads_by_round;
    answer(reading.request, ReplyStatus::kOk, reading.result);
    return true;
  });
}

}  // namespace cairn::paxos_sim
