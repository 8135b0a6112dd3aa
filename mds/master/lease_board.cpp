#include "mds/master/lease_board.h"

#include "mds/state/machine.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

SessionId LeaseBoard::table_holder(InodeId inode) const {
  const Result<pb::InodeRecord> record = state::queries::inode(env_.tables, inode);
  return record.has_value() ? SessionId::from_raw(record->lease_session()) : SessionId();
}

bool LeaseBoard::is_alive(SessionId session) const {
  const Session* at = sessions_.find(session);
  return at != nullptr && !at->ending;
}

Task<Status> LeaseBoard::acquire(InodeId inode, SessionId session, Want want) {
  if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
  // It may have ended while the request waited for something else: what it got now nobody would
  // take back.
  if (!is_alive(session)) co_return fail(Code::kSessionGone, "the session has ended");
  const Ticket ticket = ++last_ticket_;
  runtime::Completion<Status> done(env_.runtime);
  waiting_.emplace(ticket, done);
  LeaseEffects effects = core_.request(
      LeaseRequest{.ticket = ticket, .inode = inode, .session = session, .want = want},
      table_holder(inode));
  carry_out(std::move(effects));
  // One lease time for the recall, one for a holder that was heard and does not notice its end.
  const Deadline deadline = env_.runtime.after(env_.settings.lease * 3);
  std::optional<Status> status = co_await done.wait_until(deadline);
  if (status.has_value()) co_return std::move(*status);
  waiting_.erase(ticket);
  carry_out(core_.cancel(ticket));
  co_return fail(Code::kTimeout, "the lease was not given back in time");
}

void LeaseBoard::release_shared(InodeId inode, SessionId session) {
  carry_out(core_.release_shared(inode, session));
  wake_recall(inode, session);
}

void LeaseBoard::begin_release(InodeId inode) { core_.begin_release(inode, table_holder(inode)); }

void LeaseBoard::finish_release(InodeId inode, SessionId session, pb::LeaseMode keep) {
  // One that ended while its release was in the log keeps nothing.
  const pb::LeaseMode kept = is_alive(session) ? keep : pb::LEASE_NONE;
  carry_out(core_.finish_release(inode, session, kept, table_holder(inode)));
  wake_recall(inode, session);
}

void LeaseBoard::reclaim_shared(InodeId inode, SessionId session) {
  if (core_.reclaim_shared(inode, session, table_holder(inode))) return;
  env_.log.warning("session {} reclaims a shared lease of inode {} that conflicts: it is recalled",
                   session.raw(), inode.raw());
  env_.tasks.spawn(tell_lost(this, inode, session));
}

Task<void> LeaseBoard::tell_lost(LeaseBoard* self, InodeId inode, SessionId session) {
  const bool told = co_await self->recall_once(inode, session, pb::LEASE_NONE);
  if (!told) self->env_.log.debug("session {} could not be told", session.raw());
}

void LeaseBoard::drop_session(SessionId session) {
  std::vector<Ticket> dropped;
  LeaseEffects effects = core_.end_session(session, &dropped);
  for (const Ticket ticket : dropped) serve(ticket, fail(Code::kSessionGone, "the session ended"));
  carry_out(std::move(effects));
  connected(session);  // its recall loops find that they are not needed
}

void LeaseBoard::session_gone(SessionId session) {
  for (const InodeId inode : core_.exclusive_of(session)) refresh(inode);
}

void LeaseBoard::forgive(Duration gap) {
  for (auto& [key, recall] : recalls_) recall.since = recall.since + gap;
}

void LeaseBoard::refresh(InodeId inode) { carry_out(core_.refresh(inode, table_holder(inode))); }

void LeaseBoard::withhold_exclusive(bool withheld) {
  carry_out(core_.withhold_exclusive(withheld));
}

void LeaseBoard::connected(SessionId session) {
  for (auto& [key, recall] : recalls_) {
    if (key.first == session) recall.wake.set(true);
  }
}

void LeaseBoard::stop() {
  auto waiting = std::move(waiting_);
  waiting_.clear();
  for (auto& [ticket, done] : waiting) done.set(fail(Code::kCancelled, "the MDS is stopping"));
  for (auto& [key, recall] : recalls_) recall.wake.set(true);
}

void LeaseBoard::serve(Ticket ticket, Status status) {
  const auto at = waiting_.find(ticket);
  if (at == waiting_.end()) return;
  runtime::Completion<Status> done = at->second;
  waiting_.erase(at);
  done.set(std::move(status));
}

// Answers first: a holder must hear of its lease before it hears that the lease is recalled.
void LeaseBoard::carry_out(LeaseEffects effects) {
  for (const Ticket ticket : effects.served) serve(ticket, Status());
  for (const LeaseRequest& request : effects.to_log) env_.tasks.spawn(grant(this, request));
  for (const RecallEffect& effect : effects.recalls) recall(effect);
}

void LeaseBoard::recall(const RecallEffect& effect) {
  const auto key = std::pair(effect.session, effect.inode);
  const auto at = recalls_.find(key);
  if (at != recalls_.end()) {
    at->second.since = env_.runtime.now();
    at->second.wake.set(true);
    return;
  }
  recalls_.emplace(
      key, Recall{.since = env_.runtime.now(), .wake = runtime::Completion<bool>(env_.runtime)});
  env_.tasks.spawn(recall_loop(this, effect.inode, effect.session));
}

void LeaseBoard::wake_recall(InodeId inode, SessionId session) {
  const auto at = recalls_.find(std::pair(session, inode));
  if (at != recalls_.end()) at->second.wake.set(true);
}

Task<void> LeaseBoard::recall_loop(LeaseBoard* self, InodeId inode, SessionId session) {
  const auto key = std::pair(session, inode);
  // Two turns: the answer that granted the lease is on its way before the recall.
  co_await runtime::yield_turn(self->env_.runtime);
  co_await runtime::yield_turn(self->env_.runtime);
  for (;;) {
    pb::LeaseMode keep = pb::LEASE_NONE;
    if (self->env_.stopping || !self->core_.is_recalled(inode, session, &keep)) break;
    const Session* holder = self->sessions_.find(session);
    if (holder == nullptr || holder->ending) break;
    Recall& state = self->recalls_.at(key);
    const Deadline end = state.since + self->env_.settings.lease;
    if (self->env_.runtime.now() >= end) {
      self->recalls_.erase(key);
      self->on_unanswered_(session, inode);
      co_return;
    }
    // Made before the call: what happens during the call must not be missed.
    state.wake = runtime::Completion<bool>(self->env_.runtime);
    runtime::Completion<bool> wake = state.wake;
    const bool sent = co_await self->recall_once(inode, session, keep);
    // Not connected: a new connection wakes this loop.
    if (!sent)
      self->env_.log.debug("recall of inode {} waits for session {}", inode.raw(), session.raw());
    const Deadline next = self->env_.runtime.after(self->env_.settings.recall_repeat);
    co_await wake.wait_until(std::min(next, end));
  }
  self->recalls_.erase(key);
}

Task<bool> LeaseBoard::recall_once(InodeId inode, SessionId session, pb::LeaseMode keep) {
  const Session* holder = sessions_.find(session);
  if (holder == nullptr) co_return false;
  const std::shared_ptr<net::Channel> channel = holder->channel();
  if (channel == nullptr) co_return false;
  pb::RecallLease message;
  message.set_inode(inode.raw());
  message.set_keep(keep);
  const Result<pb::InodeRecord> record = state::queries::inode(env_.tables, inode);
  if (record.has_value() && record->lease_session() == session.raw()) {
    message.set_epoch(record->lease_epoch());
  }
  net::Payload request;
  request.meta = message.SerializeAsString();
  const Deadline deadline = env_.runtime.after(env_.settings.recall_repeat);
  const Result<net::Payload> received =
      co_await channel->call(pb::OP_RECALL_LEASE, std::move(request), deadline);
  co_return received.has_value();
}

Task<void> LeaseBoard::grant(LeaseBoard* self, LeaseRequest request) {
  Status status = co_await self->grant_through_log(request);
  LeaseEffects effects = self->core_.finish_grant(request, self->table_holder(request.inode));
  self->serve(request.ticket, std::move(status));
  self->carry_out(std::move(effects));
}

Task<Status> LeaseBoard::grant_through_log(LeaseRequest request) {
  // Left open by a holder that is gone: nobody may write, or read, before they are whole.
  Status recovered = co_await recovery_.recover_inode(request.inode);
  if (!recovered.has_value()) co_return recovered;
  pb::Command command;
  command.mutable_grant_lease()->set_inode(request.inode.raw());
  command.mutable_grant_lease()->set_session(request.session.raw());
  const Result<pb::CommandReply> granted = co_await env_.commands.run(std::move(command));
  if (!granted.has_value()) co_return fail(granted.error());
  co_return Status();
}

}  // namespace cairn::mds::master
