#include "admin/hwflush/reporter.h"

#include <utility>

#include "admin/hwflush/limits.h"

namespace cairn::admin::hwflush {
namespace {

Error unexpected_answer() {
  return Error(Code::kProtocol, "the server answered something that makes no sense");
}

}  // namespace

Reporter::Reporter(std::function<void()> on_failure)
    : on_failure_(std::move(on_failure)), network_(runtime_), wake_(runtime_), tasks_(runtime_) {}

Reporter::~Reporter() { close(); }

Result<Known> Reporter::greet(std::vector<net::Address> servers, Hello hello) {
  runtime_.post([this, to = std::move(servers), words = std::move(hello)]() mutable {
    tasks_.spawn(run(std::move(to), std::move(words)));
  });
  loop_ = std::jthread([this] { runtime_.run(); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return known_.has_value(); });
  return *known_;
}

Status Reporter::tell(Counter flushed) {
  std::unique_lock lock(mutex_);
  if (failure_.has_value()) return fail(*failure_);
  if (closing_) return fail(Code::kCancelled, "the check was ended");
  waiting_[flushed.thread] = flushed.value;
  if (waiting_.size() == 1) {
    runtime_.post([this] { wake_.notify_all(); });
  }
  changed_.wait(lock, [this, &flushed] {
    const auto told = told_.find(flushed.thread);
    return failure_.has_value() || (told != told_.end() && told->second >= flushed.value);
  });
  if (failure_.has_value()) return fail(*failure_);
  return {};
}

void Reporter::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  if (!loop_.joinable()) return;
  runtime_.post([this] {
    wake_.notify_all();
    if (stream_ != nullptr) stream_->close();
  });
  loop_.join();
}

Task<void> Reporter::run(std::vector<net::Address> servers, Hello hello) {
  Result<Known> known = fail(Code::kUnavailable);
  const Status connected = co_await connect(std::move(servers));
  if (connected.has_value()) {
    known = co_await say_hello(std::move(hello));
  } else {
    known = fail(connected.error());
  }
  const bool greeted = known.has_value();
  set_known(std::move(known));
  if (greeted) {
    const Status ended = co_await report_all();
    if (!ended.has_value()) set_failure(ended.error());
  }
  if (stream_ != nullptr) stream_->close();
  runtime_.stop();
}

Task<Status> Reporter::connect(std::vector<net::Address> servers) {
  Status last = fail(Code::kUnavailable, "the server has no address");
  for (const net::Address& server : servers) {
    const Deadline deadline = runtime_.after(kConnectTime);
    Result<std::unique_ptr<net::Stream>> connected = co_await network_.connect(server, deadline);
    if (connected.has_value()) {
      stream_ = std::make_unique<MessageStream>(std::move(*connected));
      co_return Status();
    }
    last = fail(connected.error());
  }
  co_return last;
}

Task<Result<Known>> Reporter::say_hello(Hello hello) {
  Message words = std::move(hello);
  const Status sent = co_await stream_->write(std::move(words));
  if (!sent.has_value()) co_return fail(sent.error());
  Result<Message> reply = co_await answer();
  if (!reply.has_value()) co_return fail(reply.error());
  if (Known* const known = std::get_if<Known>(&*reply)) co_return std::move(*known);
  co_return fail(unexpected_answer());
}

Task<Status> Reporter::report_all() {
  for (;;) {
    Counters flushed = take_waiting();
    if (flushed.empty()) {
      {
        const std::lock_guard lock(mutex_);
        if (closing_) co_return Status();
      }
      co_await wake_.wait();
      continue;
    }
    const std::uint64_t sequence = ++sequence_;
    Message report = Report{sequence, flushed};
    const Status sent = co_await stream_->write(std::move(report));
    if (!sent.has_value()) co_return fail(sent.error());
    const Result<Message> reply = co_await answer();
    if (!reply.has_value()) co_return fail(reply.error());
    const Acknowledge* const acknowledge = std::get_if<Acknowledge>(&*reply);
    if (acknowledge == nullptr || acknowledge->sequence != sequence) {
      co_return fail(unexpected_answer());
    }
    {
      const std::lock_guard lock(mutex_);
      for (const Counter& counter : flushed) told_[counter.thread] = counter.value;
    }
    changed_.notify_all();
  }
}

// A server that hangs is as gone as one that ended.
Task<Result<Message>> Reporter::answer() {
  bool late = false;
  const runtime::TimerId timer = runtime_.schedule(runtime_.after(kAnswerTime), [this, &late] {
    late = true;
    stream_->close();
  });
  Result<Message> reply = co_await stream_->read();
  runtime_.cancel(timer);
  if (late) co_return fail(Code::kTimeout, "no answer from " + stream_->peer() + " in time");
  if (!reply.has_value()) co_return fail(reply.error());
  if (const Refuse* const refuse = std::get_if<Refuse>(&*reply)) {
    co_return fail(Code::kRefusedForSafety, "the server says: " + refuse->text);
  }
  co_return reply;
}

Counters Reporter::take_waiting() {
  const std::lock_guard lock(mutex_);
  Counters result;
  for (const auto& [thread, value] : waiting_) result.push_back({thread, value});
  waiting_.clear();
  return result;
}

void Reporter::set_failure(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || failure_.has_value()) return;
    failure_ = error;
  }
  changed_.notify_all();
  on_failure_();
}

void Reporter::set_known(Result<Known> known) {
  const std::lock_guard lock(mutex_);
  known_ = std::move(known);
  changed_.notify_all();
}

}  // namespace cairn::admin::hwflush
