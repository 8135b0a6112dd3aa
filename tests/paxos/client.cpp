#include "tests/paxos/client.h"

#include "tests/paxos/member.h"

namespace cairn::paxos_sim {

namespace {
constexpr std::uint64_t kSessionsPerClient = 1'000'000;
constexpr std::uint64_t kAttemptsBeforeGivingUp = 2;
}  // namespace

void Client::start() {
  wanders_ = world_.prng.chance(world_.settings.wanderers_per_mille);
  session_ = (end_ - kFirstClient + 1) * kSessionsPerClient;
  think();
}

void Client::think() {
  const Duration pause =
      finishing_ ? Duration(0) : draw(world_.prng, 0us, 2 * world_.settings.think);
  world_.schedule.after(pause, [this, number = ++thinking_] {
    if (number == thinking_ && !running_.has_value()) begin();
  });
}

void Client::finish() {
  finishing_ = true;
  last_ops_ = 2 * world_.settings.keys;
  if (!running_.has_value()) think();
}

RegisterOp Client::draw_op(bool read) {
  Prng& prng = world_.prng;
  if (read) return {.kind = OpKind::kRead};
  RegisterOp op{.kind = OpKind::kAppend, .argument = prng.next()};
  if (prng.chance(40)) op.kind = OpKind::kWrite;
  if (prng.chance(300)) {
    op.kind = OpKind::kCas;
    op.expected = last_seen_;
  }
  return op;
}

void Client::begin() {
  Prng& prng = world_.prng;
  Request request{.client = end_, .session = session_, .seq = ++seq_};
  if (finishing_) {
    if (last_ops_ == 0) return;
    --last_ops_;
    request.key = last_ops_ / 2;
    request.op = draw_op(last_ops_ % 2 == 0);
  } else {
    request.key = static_cast<std::uint32_t>(prng.below(world_.settings.keys));
    request.op = draw_op(prng.chance(world_.settings.read_per_mille));
  }
  request.padding = static_cast<std::uint32_t>(prng.below(world_.settings.padding_max + 1));
  running_ = Running{.request = request, .called = world_.tell_time()};
  attempt();
}

NodeId Client::anybody() const {
  const std::vector<NodeId> ids = finishing_ ? world_.member_ids() : world_.ids();
  return ids[world_.prng.below(ids.size())];
}

void Client::attempt() {
  Running& running = *running_;
  ++running.attempts;
  if (running.attempts > 1) ++world_.stats.retries;
  const bool elsewhere = wanders_ || (running.attempts > 1 && world_.prng.chance(300));
  if (!target_.valid() || elsewhere) target_ = anybody();
  world_.request(target_, running.request);
  // An attempt that nobody answers ends here.
  world_.schedule.after(
      world_.settings.patience, [this, number = ++running.attempt, seq = running.request.seq] {
        if (!running_.has_value() || running_->request.seq != seq || running_->attempt != number)
          return;
        target_ = NodeId();
        if (!finishing_ && running_->attempts >= kAttemptsBeforeGivingUp &&
            world_.prng.chance(world_.settings.abandon_per_mille)) {
          give_up();
        } else {
          attempt();
        }
      });
}

void Client::retry_in(Duration delay) {
  world_.schedule.after(delay, [this, number = ++running_->attempt, seq = running_->request.seq] {
    if (running_.has_value() && running_->request.seq == seq && running_->attempt == number) {
      attempt();
    }
  });
}

void Client::on_reply(NodeId from, const Reply& reply) {
  if (reply.session != session_ || !running_.has_value()) return;
  if (reply.seq != running_->request.seq) return;
  world_.note(0xc11e, mix(mix(reply.session, reply.seq), reply.result));
  switch (reply.status) {
    case ReplyStatus::kOk:
      answered(reply);
      return;
    case ReplyStatus::kOverloaded:
      break;
    case ReplyStatus::kNotMaster:
      // Late refusals of members that were asked before mean nothing.
      if (from != target_) return;
      target_ = reply.leader == from ? NodeId() : reply.leader;
      break;
  }
  retry_in(draw(world_.prng, 1ms, per_mille(world_.settings.timing.hold, 100)));
}

void Client::answered(const Reply& reply) {
  const RegisterOp op = running_->request.op;
  if (op.kind != OpKind::kRead) world_.oracle.answered({reply.session, reply.seq}, reply.result);
  if (op.kind == OpKind::kRead || op.kind == OpKind::kAppend) last_seen_ = reply.result;
  ++world_.stats.ops_answered;
  world_.say("client {} request {}/{} answered", end_, reply.session, reply.seq);
  record(world_.tell_time(), reply.result);
  running_.reset();
  think();
}

void Client::give_up() {
  ++world_.stats.ops_abandoned;
  world_.say("client {} gives up {}/{}", end_, session_, running_->request.seq);
  record(kNeverReturned, 0);
  running_.reset();
  // The old session may still do something, once: the new one has its own order.
  ++session_;
  seq_ = 0;
  think();
}

void Client::record(std::uint64_t returned, std::uint64_t result) {
  const Request& request = running_->request;
  world_.histories[request.key].push_back(Seen{.operation = {.op = request.op,
                                                             .called = running_->called,
                                                             .returned = returned,
                                                             .result = result},
                                               .session = request.session,
                                               .seq = request.seq});
}

void Client::close() {
  if (running_.has_value()) record(kNeverReturned, 0);
}

}  // namespace cairn::paxos_sim
