#include "client/core/session.h"

#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "common/base/limits.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {
constexpr Duration kRetryFirst = 20ms;
constexpr Duration kRetryMost = 500ms;
// A serving master that answers "corrupt" for so long means the request, not itself.
constexpr Duration kTroublePatience = 10s;

bool means_trouble(Code code) { return code == Code::kDiskFailed || code == Code::kCorrupt; }
}  // namespace

bool is_mutation(const pb::ClientRequest& request) {
  switch (request.op_case()) {
    case pb::ClientRequest::kSetAttr:
    case pb::ClientRequest::kMakeNode:
    case pb::ClientRequest::kLink:
    case pb::ClientRequest::kUnlink:
    case pb::ClientRequest::kRename:
    case pb::ClientRequest::kSetXattr:
    case pb::ClientRequest::kRemoveXattr:
    case pb::ClientRequest::kOpenChunk:
    case pb::ClientRequest::kDropPieces:
    case pb::ClientRequest::kCommitFile:
    case pb::ClientRequest::kCloseChunk:
    case pb::ClientRequest::kMakeShadow:
    case pb::ClientRequest::kSwapData:
      return true;
    case pb::ClientRequest::kReleaseLease:
      return request.release_lease().epoch() != 0;
    default:
      return false;
  }
}

Session::Session(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
                 const Options& options, Owner& owner)
    : runtime_(runtime),
      network_(network),
      log_(log),
      options_(options),
      owner_(owner),
      tasks_(runtime),
      changed_(runtime),
      mutations_(runtime, limits::kSessionRequestsInFlightMax / 2),
      masters_(options.masters),
      finder_(
          runtime, network, options.credentials, masters_,
          {.serve = [this](std::uint16_t op,
                           net::Payload request) { return serve(this, op, std::move(request)); },
           .on_close = [this] { notify(); },
           .on_failed = [this](const net::Address& at,
                               const Error& error) { asked_in_vain(at, error); }}) {}

Session::~Session() { CHECK(channel_ == nullptr); }

Task<Status> Session::start(Deadline deadline) {
  if (options_.masters.empty()) co_return fail(Code::kInvalidArgument, "no MDS address is known");
  tasks_.spawn(run());
  while (channel_ == nullptr) {
    const bool told = co_await changed_.wait_until(deadline);
    if (stopping_) co_return fail(Code::kCancelled, "stopped while it was started");
    if (channel_ != nullptr) break;
    if (stopping_) co_return fail(Code::kCancelled, "the session is being stopped");
    std::optional<Error> fatal = fatal_refusal();
    if (fatal.has_value() || !told || runtime_.now() >= deadline) {
      Error error = fatal.has_value() ? std::move(*fatal) : refusal();
      co_await stop(false, runtime_.now());
      co_return fail(std::move(error));
    }
  }
  started_ = true;
  tasks_.spawn(keep_alive());
  tasks_.spawn(end_dead_sessions());
  co_return Status();
}

Task<void> Session::stop(bool clean, Deadline deadline) {
  if (clean && channel_ != nullptr) {
    pb::ClientRequest request;
    request.set_session(session_);
    request.mutable_close_session();
    const ChannelPtr channel = channel_;
    const Result<pb::ClientReply> bye = co_await exchange(channel, &request, deadline);
    if (!bye.has_value()) log_.warning("closing the session: {}", bye.error().to_string());
  }
  stopping_ = true;
  if (channel_ != nullptr) channel_->close();
  if (opening_ != nullptr) opening_->close();
  notify();
  co_await tasks_.join();
  co_await finder_.stop();
}

void Session::notify() {
  changed_.notify_all();
  finder_.wake();
}

Task<Result<net::Payload>> Session::serve(Session* self, std::uint16_t op, net::Payload request) {
  if (op == pb::OP_HOLD_CHUNK) {
    pb::HoldChunk hold;
    if (!hold.ParseFromString(request.meta)) co_return fail(Code::kProtocol, "bad HoldChunk");
    self->owner_.on_hold(std::move(hold));
    co_return net::Payload{};
  }
  if (op != pb::OP_RECALL_LEASE) co_return fail(Code::kUnsupported, "not an op of a client");
  pb::RecallLease recall;
  if (!recall.ParseFromString(request.meta)) co_return fail(Code::kProtocol, "bad RecallLease");
  self->owner_.on_recall(std::move(recall));
  co_return net::Payload{};
}

void Session::heard_from(const net::Channel* channel) {
  if (channel != channel_.get()) return;
  last_heard_ = runtime_.now();
  if (!std::exchange(silent_, false)) return;
  notify();
}

void Session::heard_error(const pb::ClientRequest& request, Code code, Instant sent, bool current) {
  if (!proves_master(code)) {
    doubted_ = true;
  } else if (current && !request.has_open_session()) {
    answered(sent);
  }
}

void Session::answered(Instant sent) {
  last_proof_ = runtime_.now();
  doubted_ = false;
  last_sent_ = std::max(last_sent_, sent);
  const bool was_valid = valid();
  // The master counts from when it heard of us, which is later than we sent; a tenth for drift.
  valid_until_ = std::max(valid_until_, sent + lease_ * 9 / 10);
  if (!was_valid && valid()) notify();
}

void Session::session_gone(std::uint64_t generation) {
  if (generation != generation_) return;
  log_.error("session {} is gone: every lease is void, unwritten data of open files is lost",
             session_);
  session_ = 0;
  valid_until_ = Instant();
  ++generation_;
  next_seq_ = 1;
  unanswered_.clear();
  owner_.on_session_gone();
  if (channel_ != nullptr) channel_->close();
  notify();
}

Task<Result<pb::ClientReply>> Session::exchange(ChannelPtr channel,
                                                const pb::ClientRequest* request,
                                                Deadline deadline) {
  net::Payload payload;
  payload.meta = request->SerializeAsString();
  const Instant sent = runtime_.now();
  const std::uint64_t id = next_exchange_++;
  const std::uint64_t generation = generation_;
  in_flight_.emplace(id, sent);
  Result<net::Payload> answer =
      co_await channel->call(pb::OP_CLIENT_REQUEST, std::move(payload), deadline);
  in_flight_.erase(id);
  const bool current = generation == generation_ && session_ != 0;
  if (generation != generation_ && !is_mutation(*request) && answer.has_value()) {
    co_return fail(Code::kConnectionLost, "answered to a session that is gone");
  }
  if (!answer.has_value()) {
    const Code code = answer.error().code();
    const bool local =
        code == Code::kTimeout || code == Code::kConnectionLost || code == Code::kOverloaded;
    if (!local) heard_from(channel.get());
    heard_error(*request, code, sent, current);
    co_return fail(std::move(answer).error());
  }
  heard_from(channel.get());
  pb::ClientReply reply;
  if (!reply.ParseFromString(answer->meta)) co_return fail(Code::kProtocol, "bad ClientReply");
  const std::uint32_t code = reply.error().code();
  if (code != 0) {
    const Code known = is_known_code(code) ? static_cast<Code>(code) : Code::kInternal;
    if (known == Code::kNotMaster) masters_.point_to(reply.master());
    heard_error(*request, known, sent, current);
    co_return fail(known, reply.error().message());
  }
  // open() counts from an open session only when what we hold was told.
  if (current && !request->has_open_session()) answered(sent);
  co_return reply;
}

bool Session::number(pb::ClientRequest& request, Mutation& mutation) {
  if (mutation.generation == 0) {
    mutation.generation = generation_;
    mutation.seq = next_seq_++;
    unanswered_.insert(mutation.seq);
  } else if (mutation.generation != generation_) {
    return false;
  }
  ++mutation.attempts;
  request.set_seq(mutation.seq);
  request.set_answered_below(*unanswered_.begin());
  return true;
}

Task<Result<pb::ClientReply>> Session::call(pb::ClientRequest request, Deadline deadline) {
  if (!is_mutation(request)) {
    Result<pb::ClientReply> reply = co_await call_numbered(std::move(request), deadline, nullptr);
    co_return reply;
  }
  const runtime::Semaphore::Permit permit = co_await mutations_.acquire_until(1, deadline);
  if (!permit.held()) co_return fail(Code::kTimeout, "too many requests wait for the MDS");
  Mutation mutation;
  Result<pb::ClientReply> reply = co_await call_numbered(std::move(request), deadline, &mutation);
  // Given up or answered: either way the master may forget it, and refuses a late copy.
  if (mutation.generation == generation_) {
    unanswered_.erase(mutation.seq);
  } else if (mutation.generation != 0 && reply.has_value()) {
    co_return fail(Code::kSessionGone, "the session ended while the MDS answered");
  }
  co_return reply;
}

Task<Result<pb::ClientReply>> Session::call_numbered(pb::ClientRequest request, Deadline deadline,
                                                     Mutation* mutation) {
  Backoff backoff(kRetryFirst, kRetryMost);
  Instant trouble_until = Instant::infinite();
  for (;;) {
    if (stopping_) co_return fail(Code::kCancelled, "the mount is being stopped");
    if (runtime_.now() >= deadline)
      co_return fail(Code::kTimeout, "the MDS did not answer in time");
    if (channel_ == nullptr || !channel_->is_open()) {
      co_await changed_.wait_until(deadline);
      continue;
    }
    if (mutation != nullptr && !number(request, *mutation)) {
      co_return fail(Code::kSessionGone, "the session ended before the MDS answered");
    }
    request.set_session(session_);
    const std::uint64_t generation = generation_;
    const ChannelPtr channel = channel_;
    Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
    if (reply.has_value()) co_return reply;
    switch (judge(reply.error())) {
      case Verdict::kFinal:
        co_return reply;
      case Verdict::kSessionGone:
        session_gone(generation);
        // Sent once and refused: it was not done, so the next session may do it.
        if (mutation != nullptr && mutation->attempts == 1) *mutation = Mutation();
        continue;
      case Verdict::kReconnect:
        channel->close();
        break;
      case Verdict::kAgain:
        break;
    }
    if (means_trouble(reply.error().code())) {
      trouble_until = std::min(trouble_until, runtime_.after(kTroublePatience));
      if (runtime_.now() >= trouble_until) co_return reply;
    }
    if (stopping_) continue;
    const Deadline again = std::min(deadline, runtime_.after(backoff.next(runtime_.random())));
    co_await runtime::sleep_until(runtime_, again);
  }
}

Task<Status> Session::call_once(pb::ClientRequest request, Deadline deadline) {
  if (channel_ == nullptr) co_return fail(Code::kUnavailable, "not connected");
  request.set_session(session_);
  const ChannelPtr channel = channel_;
  const Result<pb::ClientReply> reply = co_await exchange(channel, &request, deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  co_return Status();
}

}  // namespace cairn::client
