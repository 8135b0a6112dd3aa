// What the session does by itself while it is open: keep-alives, probes of a master that is silent,
// and the sessions that dead processes of this host left behind.
#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "client/core/session.h"

namespace cairn::client {

namespace {
constexpr Duration kTick = 100ms;
// Also a mount that asks nothing notices that the master is gone: the next one grants nothing that
// could conflict before it heard of all, so an idle mount would hold up the others.
constexpr Duration kIdle = 1s;
// A request without an answer for so long: is the master there? It answers that from memory.
constexpr Duration kProbeAfter = 500ms;
constexpr Duration kSilentAfter = 300ms;  // of a probe: now the others are asked too
constexpr Duration kLeaveAfter = 5s;      // of a probe: the channel is given up
constexpr Duration kDeadSessionsRepeat = 1s;
}  // namespace

bool Session::wants_probe() const {
  const Instant now = runtime_.now();
  if (now - last_sent_ >= std::min<Duration>(kIdle, lease_ / 4)) return true;
  const bool waits = !in_flight_.empty() && now - in_flight_.begin()->second >= kProbeAfter;
  if (waits && now - last_heard_ >= kProbeAfter) return true;
  return doubted_ && now - last_proof_ >= kProbeAfter;
}

Task<void> Session::keep_alive() {
  while (!stopping_) {
    const Deadline tick = runtime_.after(kTick);
    while (!stopping_ && runtime_.now() < tick) co_await changed_.wait_until(tick);
    if (stopping_ || !connected()) continue;
    if (!probed_.has_value()) {
      if (wants_probe()) tasks_.spawn(probe(channel_));
      continue;
    }
    if (silent_ || runtime_.now() - *probed_ < kSilentAfter) continue;
    silent_ = true;
    notify();
  }
}

// A keep-alive is answered from memory: whoever does not answer it hangs, or cannot be reached.
Task<void> Session::probe(ChannelPtr channel) {
  probed_ = runtime_.now();
  pb::ClientRequest request;
  *request.mutable_keep_alive() = owner_.statistics();
  request.set_session(session_);
  const std::uint64_t generation = generation_;
  const Deadline deadline = runtime_.after(kLeaveAfter);
  const Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
  probed_.reset();
  if (reply.has_value()) co_return;
  if (reply.error().code() == Code::kOverloaded) {
    // The channel is full of what is not answered.
    silent_ = channel == channel_ && runtime_.now() - last_heard_ >= kProbeAfter;
    if (silent_) notify();
    co_return;
  }
  if (judge(reply.error()) == Verdict::kSessionGone) session_gone(generation);
  channel->close();
}

// Again after every connect: a master that restarted may have forgotten that it was ending one, and
// whoever needs a lease of a dead session waits for that.
Task<void> Session::end_dead_sessions() {
  if (!options_.process_alive) co_return;
  while (!stopping_) {
    const ChannelPtr listed_on = channel_;
    const bool some_left = co_await end_dead_sessions_once();
    if (some_left) {
      const Deadline again = runtime_.after(kDeadSessionsRepeat);
      while (!stopping_ && runtime_.now() < again) co_await changed_.wait_until(again);
      continue;
    }
    while (!stopping_ && (channel_ == nullptr || channel_ == listed_on)) {
      const Deadline never = Deadline::infinite();
      co_await changed_.wait_until(never);
    }
  }
}

// True if there may be more to end.
Task<bool> Session::end_dead_sessions_once() {
  pb::ClientRequest list;
  list.mutable_list_host_sessions()->set_host_id(options_.host_id.raw());
  const Deadline deadline = runtime_.after(options_.operation_timeout);
  const Result<pb::ClientReply> reply = co_await call(std::move(list), deadline);
  if (!reply.has_value()) co_return true;
  bool some_left = false;
  for (const auto& entry : reply->list_host_sessions().sessions()) {
    if (stopping_) co_return false;
    if (entry.session() == session_) continue;
    if (options_.process_alive(entry.process())) continue;
    some_left = true;
    pb::ClientRequest end;
    end.mutable_end_dead_session()->set_session(entry.session());
    end.mutable_end_dead_session()->set_process(entry.process());
    end.mutable_end_dead_session()->set_host_id(options_.host_id.raw());
    const Deadline until = runtime_.after(options_.operation_timeout);
    const Result<pb::ClientReply> ended = co_await call(std::move(end), until);
    if (ended.has_value()) {
      log_.info("session {} was left by a process that is gone ({}): told the MDS", entry.session(),
                entry.process());
    }
  }
  co_return some_left;
}

}  // namespace cairn::client
