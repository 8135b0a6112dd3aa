#include "tests/bench/mds_session.h"

#include <algorithm>
#include <utility>

#include "common/cluster/cluster_config.h"
#include "proto/data_plane.pb.h"

namespace cairn::bench {

namespace {
constexpr Duration kConnectTimeout = 500ms;
constexpr Duration kAttemptTimeout = 1s;  // a master that is stopped answers nothing
constexpr Duration kPause = 5ms;

// Recalls: nothing is held.
Task<Result<net::Payload>> answer_nothing() { co_return net::Payload{}; }
}  // namespace

Task<Status> MdsSession::open(Deadline deadline) {
  const Status connected = co_await connect(deadline);
  co_return connected;
}

void MdsSession::note_master(const std::string& grpc_address) {
  const Result<net::Address> address = net::Address::parse(grpc_address);
  if (!address.has_value()) return;
  const auto found =
      std::find(options_.doors.begin(), options_.doors.end(), cluster::session_address(*address));
  if (found == options_.doors.end()) return;
  hint_ = static_cast<std::size_t>(found - options_.doors.begin());
}

Task<Result<pb::ClientReply>> MdsSession::exchange(ChannelPtr channel, pb::ClientRequest request,
                                                   Deadline deadline) {
  net::Payload payload;
  payload.meta = request.SerializeAsString();
  const Result<net::Payload> answer =
      co_await channel->call(pb::OP_CLIENT_REQUEST, std::move(payload), deadline);
  if (!answer.has_value()) co_return fail(answer.error());
  pb::ClientReply reply;
  if (!reply.ParseFromString(answer->meta)) co_return fail(Code::kProtocol, "bad ClientReply");
  if (!reply.master().empty()) note_master(reply.master());
  const std::uint32_t code = reply.error().code();
  if (code == 0) co_return reply;
  co_return fail(is_known_code(code) ? static_cast<Code>(code) : Code::kInternal,
                 reply.error().message());
}

Task<Status> MdsSession::resume(ChannelPtr channel) {
  pb::ClientRequest request;
  pb::OpenSession& open = *request.mutable_open_session();
  open.set_host("bench");
  open.set_process(options_.name);
  open.set_mount_point("(bench)");
  open.set_protocol(1);
  open.set_resume(session_);
  const Deadline deadline = runtime_.after(kAttemptTimeout);
  const Result<pb::ClientReply> reply = co_await exchange(channel, std::move(request), deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  const pb::OpenSessionReply& opened = reply->open_session();
  if (session_ != 0 && opened.session() != session_) {
    co_return fail(Code::kSessionGone, "the session was not resumed");
  }
  session_ = opened.session();
  root_ = opened.root();
  if (!opened.reclaim()) co_return Status();
  pb::ClientRequest nothing;
  nothing.set_session(session_);
  nothing.mutable_reclaim();
  const Deadline until = runtime_.after(kAttemptTimeout);
  const Result<pb::ClientReply> told = co_await exchange(channel, std::move(nothing), until);
  if (!told.has_value()) co_return fail(told.error());
  co_return Status();
}

Task<Status> MdsSession::connect_one(Deadline deadline) {
  net::Address to = options_.doors[door_];
  net::Credentials credentials = options_.credentials;
  net::Channel::Handler handler = [](std::uint16_t, net::Payload) { return answer_nothing(); };
  const Deadline soon = std::min(deadline, runtime_.after(kConnectTimeout));
  Result<std::unique_ptr<net::Channel>> connected = co_await net::connect_channel(
      runtime_, network_, std::move(to), std::move(credentials), std::move(handler), soon);
  if (!connected.has_value()) co_return fail(connected.error());
  const ChannelPtr channel(std::move(*connected));
  const Status resumed = co_await resume(channel);
  if (resumed.has_value()) {
    channel_ = channel;
    co_return Status();
  }
  channel->close();
  co_await channel->closed();
  co_return resumed;
}

// One task connects, the others wait for it.
Task<Status> MdsSession::connect(Deadline deadline) {
  while (connecting_) {
    co_await changed_.wait_until(deadline);
    if (runtime_.now() >= deadline) co_return fail(Code::kTimeout, "no master was found in time");
  }
  if (channel_ != nullptr && channel_->is_open()) co_return Status();
  connecting_ = true;
  if (channel_ != nullptr) {
    const ChannelPtr old = std::move(channel_);
    old->close();
    co_await old->closed();
  }
  Status result = fail(Code::kTimeout, "no master was found in time");
  while (runtime_.now() < deadline) {
    if (hint_.has_value()) door_ = *std::exchange(hint_, std::nullopt);
    const Status one = co_await connect_one(deadline);
    result = one;
    const bool final = one.has_value() || one.error().code() == Code::kSessionGone ||
                       one.error().code() == Code::kNotAuthenticated;
    if (final) break;
    if (!hint_.has_value()) door_ = (door_ + 1) % options_.doors.size();
    const Instant again = runtime_.after(kPause);
    co_await runtime::sleep_until(runtime_, again);
  }
  connecting_ = false;
  changed_.notify_all();
  co_return result;
}

Task<Result<pb::ClientReply>> MdsSession::mutate(pb::ClientRequest request, Deadline deadline) {
  const std::uint64_t seq = next_seq_++;
  unanswered_.insert(seq);
  Result<pb::ClientReply> reply = fail(Code::kTimeout, "not answered in time");
  while (runtime_.now() < deadline) {
    const Status connected = co_await connect(deadline);
    if (!connected.has_value()) {
      reply = fail(connected.error());
      break;
    }
    pb::ClientRequest attempt = request;
    attempt.set_session(session_);
    attempt.set_seq(seq);
    attempt.set_answered_below(*unanswered_.begin());
    const ChannelPtr channel = channel_;
    const Deadline soon = std::min(deadline, runtime_.after(kAttemptTimeout));
    Result<pb::ClientReply> answer = co_await exchange(channel, std::move(attempt), soon);
    reply = std::move(answer);
    if (reply.has_value()) break;
    const Code code = reply.error().code();
    const bool lost = code == Code::kNotMaster || code == Code::kConnectionLost ||
                      code == Code::kTimeout || code == Code::kUnavailable;
    if (!lost && code != Code::kOverloaded && code != Code::kNoMajority) break;
    if (lost) channel->close();
    const Instant again = runtime_.after(kPause);
    co_await runtime::sleep_until(runtime_, again);
  }
  unanswered_.erase(seq);
  co_return reply;
}

Task<Result<pb::ClientReply>> MdsSession::ask(pb::ClientRequest request, Deadline deadline) {
  if (channel_ == nullptr || !channel_->is_open()) {
    co_return fail(Code::kConnectionLost, "not connected");
  }
  request.set_session(session_);
  const ChannelPtr channel = channel_;
  Result<pb::ClientReply> reply = co_await exchange(channel, std::move(request), deadline);
  co_return reply;
}

Task<void> MdsSession::close() {
  if (channel_ == nullptr) co_return;
  const ChannelPtr channel = std::move(channel_);
  if (channel->is_open()) {
    pb::ClientRequest bye;
    bye.set_session(session_);
    bye.mutable_close_session();
    const Deadline deadline = runtime_.after(kAttemptTimeout);
    const Result<pb::ClientReply> told = co_await exchange(channel, std::move(bye), deadline);
    (void)told;  // the session ends by itself if this was lost
  }
  channel->close();
  co_await channel->closed();
}

}  // namespace cairn::bench
