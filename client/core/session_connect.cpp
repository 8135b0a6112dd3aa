// The session's connections: find the master, open or resume, reclaim, notice the end, start again.
#include <functional>
#include <utility>

#include "client/core/retry.h"
#include "client/core/session.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {
constexpr Duration kOpenTimeout = 5s;  // goes through the log
constexpr Duration kResumeTimeout = 1500ms;
constexpr Duration kReclaimTimeout = 10s;  // of everything held
constexpr Duration kRetryFirst = 20ms;
constexpr Duration kRetryMost = 1s;
}  // namespace

Task<void> Session::run() {
  Backoff backoff(kRetryFirst, kRetryMost);
  ChannelPtr found;
  while (!stopping_) {
    if (found == nullptr) {
      std::function<bool()> wanted = [this] { return !stopping_; };
      found = co_await finder_.find(std::move(wanted));
      continue;
    }
    const ChannelPtr channel = std::exchange(found, nullptr);
    const bool adopted = co_await adopt(channel);
    if (adopted) {
      backoff.reset();
      found = co_await serve_on(channel);
    }
    channel_.reset();
    co_await retire(channel);
    if (adopted || stopping_) continue;
    const Deadline again = runtime_.after(backoff.next(runtime_.random()));
    while (!stopping_ && runtime_.now() < again) co_await changed_.wait_until(again);
  }
  if (found != nullptr) co_await retire(found);
}

Task<bool> Session::adopt(ChannelPtr channel) {
  const std::string peer = channel->peer();
  opening_ = channel;
  const Status opened = co_await open(channel);
  opening_.reset();
  if (!opened.has_value()) {
    const Result<net::Address> at = net::Address::parse(peer);
    if (at.has_value()) asked_in_vain(*at, opened.error());
    co_return false;
  }
  if (was_connected_) {
    log_.info("connected to the MDS at {} again, session {}", peer, session_);
  }
  was_connected_ = true;
  refusals_.clear();
  doubted_ = false;
  silent_ = false;
  last_heard_ = runtime_.now();
  channel_ = channel;
  notify();
  co_return true;
}

// Until the channel broke, or this MDS is silent and another one is the master: its channel.
Task<Session::ChannelPtr> Session::serve_on(ChannelPtr channel) {
  while (!stopping_ && channel->is_open()) {
    if (!silent_) {
      co_await changed_.wait_until(Instant::infinite());
      continue;
    }
    std::function<bool()> wanted = [this, channel] {
      return !stopping_ && silent_ && channel->is_open();
    };
    ChannelPtr other = co_await finder_.find(std::move(wanted));
    if (other == nullptr) continue;
    if (silent_ && !stopping_) {
      log_.warning("the MDS at {} is silent, the one at {} is the master", channel->peer(),
                   other->peer());
      co_return other;
    }
    co_await retire(other);
  }
  co_return nullptr;
}

void Session::asked_in_vain(const net::Address& at, const Error& error) {
  const bool first = refusals_.insert_or_assign(at, error).second;
  if (first && was_connected_ && error.code() != Code::kNotMaster) {
    log_.warning("the MDS at {} cannot be asked: {}", at.to_string(), error.to_string());
  }
  if (!started_) changed_.notify_all();
}

// When nobody is left who might think otherwise.
std::optional<Error> Session::fatal_refusal() const {
  for (const net::Address& address : masters_.all()) {
    if (!refusals_.contains(address)) return std::nullopt;
  }
  for (const auto& [address, error] : refusals_) {
    const Code code = error.code();
    if (code == Code::kNotAuthenticated || code == Code::kWrongCluster) return error;
  }
  return std::nullopt;
}

// Of several, the one that tells most: an MDS that lives, then anything.
Error Session::refusal() const {
  for (const auto& [address, error] : refusals_) {
    if (error.code() == Code::kNotMaster) return error;
  }
  if (!refusals_.empty()) return refusals_.begin()->second;
  return Error(Code::kTimeout, "no MDS answered");
}

Task<void> Session::retire(ChannelPtr channel) {
  channel->close();
  co_await channel->closed();
}

Task<Status> Session::open(ChannelPtr channel) {
  const Status first = co_await open_new_or_resume(channel, session_);
  if (first.has_value() || first.error().code() != Code::kSessionGone || session_ == 0) {
    co_return first;
  }
  session_gone(generation_);
  const Status second = co_await open_new_or_resume(channel, 0);
  co_return second;
}

Task<Status> Session::open_new_or_resume(ChannelPtr channel, std::uint64_t resume) {
  pb::ClientRequest request;
  pb::OpenSession& open = *request.mutable_open_session();
  open.set_host(options_.host);
  open.set_host_id(options_.host_id.raw());
  open.set_process(options_.process);
  open.set_mount_point(options_.mount_point);
  open.set_protocol(1);
  open.set_resume(resume);
  open.set_read_only(options_.read_only);
  open.set_converter(options_.converter);
  const Instant sent = runtime_.now();
  const Deadline deadline = runtime_.after(resume == 0 ? kOpenTimeout : kResumeTimeout);
  const Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  const pb::OpenSessionReply& opened = reply->open_session();
  masters_.learn({opened.mds().begin(), opened.mds().end()});
  if (opened.session() == 0) co_return fail(Code::kProtocol, "the MDS opened no session");
  if (resume != 0 && opened.session() != resume) co_return fail(Code::kSessionGone, "not resumed");
  session_ = opened.session();
  if (opened.lease_ms() > 0) lease_ = std::chrono::milliseconds(opened.lease_ms());
  if (opened.root() != 0) root_ = InodeId::from_raw(opened.root());
  // A new session has forgotten our pins too; telling it what we hold is then only a favour.
  const bool must = resume != 0 && opened.reclaim();
  if (must || resume == 0) {
    const Status told = co_await reclaim(channel, must);
    if (!told.has_value()) co_return told;
  }
  answered(sent);
  co_return Status();
}

Task<Status> Session::reclaim(ChannelPtr channel, bool must) {
  pb::ClientRequest request;
  request.set_session(session_);
  *request.mutable_reclaim() = owner_.held();
  if (!must && request.reclaim().held_size() == 0) co_return Status();
  const Deadline deadline = runtime_.after(kReclaimTimeout);
  const Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
  if (reply.has_value() || !must) co_return Status();
  co_return fail(reply.error());
}

}  // namespace cairn::client
