#include "mds/master/session_ender.h"

#include <algorithm>

#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {
// A release in the name of an ended session carries a number that no client uses: they count
// from 1.
constexpr std::uint64_t kMasterSeqs = 1ULL << 63;
constexpr Duration kAnnounceAgain = 50ms;
}  // namespace

// nullptr when it is gone or ending already.
Session* SessionEnder::mark(SessionId session) {
  Session* ending = sessions_.find(session);
  if (ending == nullptr || ending->ending) return nullptr;
  ending->ending = true;
  return ending;
}

void SessionEnder::forget(SessionId session) {
  // What it held and did not tell since the master's start is nobody's from now on.
  sessions_.find(session)->expected = false;
  pins_.drop_session(session);
  leases_.drop_session(session);
}

void SessionEnder::begin(SessionId session, std::string reason, bool hang_up) {
  Session* ending = mark(session);
  if (ending == nullptr) return;
  if (hang_up) {
    if (const std::shared_ptr<net::Channel> channel = ending->channel()) channel->close();
  }
  env_.tasks.spawn(begin_and_end(this, session, std::move(reason)));
}

void SessionEnder::go_on(SessionId session) {
  if (mark(session) == nullptr) return;
  forget(session);
  env_.tasks.spawn(end(this, session, "a master before began to end it"));
}

Task<bool> SessionEnder::announce(SessionId session) {
  while (!env_.stopping) {
    pb::Command command;
    command.mutable_end_session()->set_session(session.raw());
    command.mutable_end_session()->set_begin(true);
    const Result<pb::CommandReply> begun = co_await env_.commands.run(std::move(command));
    if (begun.has_value() || begun.error().code() == Code::kSessionGone) co_return true;
    if (begun.error().code() == Code::kDiskFailed) co_return false;
    co_await pause(env_, kAnnounceAgain);
  }
  co_return false;
}

Task<void> SessionEnder::begin_and_end(SessionEnder* self, SessionId session, std::string reason) {
  const bool announced = co_await self->announce(session);
  if (!announced || self->env_.stopping) co_return;
  self->forget(session);
  co_await SessionEnder::end(self, session, std::move(reason));
}

void SessionEnder::revoke(SessionId session, std::string reason) {
  Session* ending = mark(session);
  if (ending == nullptr) return;
  if (const std::shared_ptr<net::Channel> channel = ending->channel()) channel->close();
  env_.tasks.spawn(end_when_noticed(this, session, std::move(reason)));
}

Task<void> SessionEnder::end_when_noticed(SessionEnder* self, SessionId session,
                                          std::string reason) {
  runtime::Completion<bool> noticed(self->env_.runtime);
  self->unnoticed_.emplace(session, noticed);
  const Deadline end = self->sessions_.find(session)->last_heard + self->env_.settings.lease;
  co_await noticed.wait_until(end);
  self->unnoticed_.erase(session);
  if (self->env_.stopping) co_return;
  co_await begin_and_end(self, session, std::move(reason));
}

void SessionEnder::noticed(const std::string& process, std::uint64_t host_id) {
  for (auto& [session, notice] : unnoticed_) {
    const pb::OpenSession& opened = sessions_.find(session)->record.request();
    if (opened.process() == process && opened.host_id() == host_id) notice.set(true);
  }
}

void SessionEnder::stop() {
  for (auto& [session, notice] : unnoticed_) notice.set(true);
  for (auto& [session, waiters] : waiting_) {
    for (runtime::Completion<bool>& waiter : waiters) waiter.set(true);
  }
}

Task<void> SessionEnder::wait(SessionId session, Deadline deadline) {
  if (sessions_.find(session) == nullptr) co_return;
  runtime::Completion<bool> done(env_.runtime);
  waiting_[session].push_back(done);
  co_await done.wait_until(deadline);
}

Task<void> SessionEnder::end(SessionEnder* self, SessionId session, std::string reason) {
  Duration back_off = 50ms;
  for (;;) {
    const Status ended = co_await self->end_once(session, reason);
    if (ended.has_value() || ended.error().code() == Code::kSessionGone) break;
    if (self->env_.stopping || ended.error().code() == Code::kDiskFailed) co_return;
    self->env_.log.debug("session {} cannot end yet: {}", session.raw(), ended.error().to_string());
    co_await pause(self->env_, back_off);
    back_off = std::min<Duration>(back_off * 2, 2s);
  }
  const Session gone = *self->sessions_.find(session);
  self->sessions_.erase(session);
  auto waiting = self->waiting_.extract(session);
  if (!waiting.empty()) {
    for (runtime::Completion<bool>& waiter : waiting.mapped()) waiter.set(true);
  }
  self->on_ended_(gone, std::move(reason));
}

Task<Status> SessionEnder::end_once(SessionId session, std::string reason) {
  CO_TRY(const std::vector<InodeId> held, state::queries::exclusive_leases(env_.tables, session));
  runtime::TaskGroup group(env_.runtime);
  for (const InodeId inode : held) group.spawn(give_back(this, session, inode));
  co_await group.join();
  pb::Command command;
  command.mutable_end_session()->set_session(session.raw());
  command.mutable_end_session()->set_reason(std::move(reason));
  const Result<pb::CommandReply> ended = co_await env_.commands.run(std::move(command));
  leases_.session_gone(session);
  if (!ended.has_value()) co_return fail(ended.error());
  co_return Status();
}

// So that one chunk that cannot be recovered does not hold up every file of the session.
Task<void> SessionEnder::give_back(SessionEnder* self, SessionId session, InodeId inode) {
  const Status recovered = co_await self->recovery_.recover_inode(inode);
  if (!recovered.has_value()) co_return;
  const Result<pb::InodeRecord> record = state::queries::inode(self->env_.tables, inode);
  if (!record.has_value() || record->lease_session() != session.raw()) co_return;
  pb::Command command;
  pb::ClientRequest* request = command.mutable_client()->mutable_request();
  request->set_session(session.raw());
  request->set_seq(kMasterSeqs | inode.raw());
  request->mutable_release_lease()->set_inode(inode.raw());
  request->mutable_release_lease()->set_epoch(record->lease_epoch());
  // Chunks that were opened meanwhile by a command that was under way stay open, and are found
  // again.
  request->mutable_release_lease()->set_unsettled(true);
  const Result<pb::CommandReply> released = co_await self->env_.commands.run(std::move(command));
  ignore(released, "EndSession follows and tells what is left");
  // A chunk that a command under way opened meanwhile: nobody is served before it is whole, too.
  const Status whole = co_await self->recovery_.recover_inode(inode);
  if (!whole.has_value()) co_return;
  self->leases_.refresh(inode);
}

}  // namespace cairn::mds::master
