// The session's connections: find the master, open or resume, reclaim, notice the end, start again.
#include <utility>

#include "client/core/retry.h"
#include "client/core/session.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {
constexpr Duration kConnectTimeout = 2s;
constexpr Duration kOpenTimeout = 10s;  // goes through the log
constexpr Duration kRetryFirst = 20ms;
constexpr Duration kRetryMost = 1s;
}  // namespace

Task<void> Session::run() {
  Backoff backoff(kRetryFirst, kRetryMost);
  std::size_t attempt = 0;
  while (!stopping_) {
    const net::Address to = options_.masters[attempt % options_.masters.size()];
    Result<ChannelPtr> connected = co_await connect(to);
    if (!connected.has_value()) {
      if (was_connected_ && !refusal_.has_value()) {
        log_.warning("the MDS at {} cannot be reached: {}", to.to_string(),
                     connected.error().to_string());
      }
      refusal_ = std::move(connected).error();
      changed_.notify_all();
      // All addresses in a row, then a pause.
      if (++attempt % options_.masters.size() != 0) continue;
      const Deadline again = runtime_.after(backoff.next(runtime_.random()));
      while (!stopping_ && runtime_.now() < again) co_await changed_.wait_until(again);
      continue;
    }
    backoff.reset();
    if (was_connected_)
      log_.info("connected to the MDS at {} again, session {}", to.to_string(), session_);
    was_connected_ = true;
    refusal_.reset();
    const ChannelPtr channel = *connected;
    channel_ = channel;
    changed_.notify_all();
    while (!stopping_ && channel->is_open()) co_await changed_.wait_until(Instant::infinite());
    channel_.reset();
    co_await retire(channel);
  }
}

Task<void> Session::retire(ChannelPtr channel) {
  channel->close();
  co_await channel->closed();
}

Task<Result<Session::ChannelPtr>> Session::connect(net::Address to) {
  net::Channel::Handler handler = [this](std::uint16_t op, net::Payload request) {
    return serve(this, op, std::move(request));
  };
  const Deadline deadline = runtime_.after(kConnectTimeout);
  Result<std::unique_ptr<net::Channel>> connected = co_await net::connect_channel(
      runtime_, network_, std::move(to), options_.credentials, std::move(handler), deadline);
  if (!connected.has_value()) co_return fail(std::move(connected).error());
  const ChannelPtr channel(std::move(*connected));
  channel->on_close([this] { changed_.notify_all(); });
  const Status opened = co_await open(channel);
  if (opened.has_value()) co_return channel;
  co_await retire(channel);
  co_return fail(opened.error());
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
  const Instant sent = runtime_.now();
  const Deadline deadline = runtime_.after(kOpenTimeout);
  const Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  const pb::OpenSessionReply& opened = reply->open_session();
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
  const Deadline deadline = runtime_.after(kOpenTimeout);
  const Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
  if (reply.has_value() || !must) co_return Status();
  co_return fail(reply.error());
}

}  // namespace cairn::client
