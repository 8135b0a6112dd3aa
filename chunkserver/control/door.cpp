#include "chunkserver/control/door.h"

#include <optional>

#include "chunkserver/control/line_reader.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver::control {
namespace {

Duration timeout_of(const protocol::Request& request) {
  if (const auto* journal = std::get_if<protocol::JournalRequest>(&request)) {
    return journal->timeout;
  }
  if (const auto* commit = std::get_if<protocol::CommitRequest>(&request)) return commit->timeout;
  return protocol::kControlTimeoutDefault;
}

Task<bool> send(net::Stream* stream, std::string line) {
  std::vector<Bytes> parts{Bytes(reinterpret_cast<const std::byte*>(line.data()), line.size())};
  const Status sent = co_await stream->write_all(std::move(parts));
  co_return sent.has_value();
}

}  // namespace

// Shared by the one who carries it out and the one who waits, who may give up.
struct ControlDoor::Work {
  std::optional<Result<protocol::Json>> outcome;
  std::optional<runtime::Completion<bool>> waiter;
};

void ControlDoor::accept(std::unique_ptr<net::Stream> stream) {
  if (closed_ || serving_.running() >= kConnectionsMax) {
    stream->close();
    return;
  }
  serving_.spawn(serve(std::move(stream)));
}

void ControlDoor::close() {
  closed_ = true;
  for (net::Stream* stream : streams_) stream->close();
}

Task<void> ControlDoor::stop() {
  close();
  co_await serving_.join();
  co_await working_.join();
}

Task<void> ControlDoor::serve(std::unique_ptr<net::Stream> stream) {
  streams_.insert(stream.get());
  if (closed_) stream->close();
  LineReader reader(*stream, protocol::kControlLineMax);
  for (bool open = true; open;) {
    // Who says nothing for long is not waited for.
    const runtime::TimerId idle =
        runtime_.schedule(runtime_.after(kIdle), [peer = stream.get()] { peer->close(); });
    Result<std::string> line = co_await reader.next();
    runtime_.cancel(idle);
    if (!line.has_value()) {
      if (line.error().code() == Code::kProtocol) {
        std::string refusal = protocol::failure_line(line.error());
        open = co_await send(stream.get(), std::move(refusal));
      }
      break;
    }
    open = co_await answer(stream.get(), std::move(*line));
  }
  stream->close();
  streams_.erase(stream.get());
}

Task<bool> ControlDoor::answer(net::Stream* stream, std::string line) {
  Result<protocol::Request> request = protocol::parse_request(line);
  if (!request.has_value()) {
    std::string refusal = protocol::failure_line(request.error());
    co_return co_await send(stream, std::move(refusal));
  }
  if (!std::holds_alternative<protocol::StatusRequest>(*request)) {
    log_.info("asked through the control door: {}", line);
  }
  const Deadline deadline = runtime_.after(timeout_of(*request));
  const auto work = std::make_shared<Work>();
  working_.spawn(carry_out(std::move(*request), work));
  while (!work->outcome.has_value()) {
    if (closed_ || runtime_.now() >= deadline) {
      std::string late = protocol::failure_line(
          Error(Code::kTimeout, "not done in time; it goes on, and status says how far it is"));
      co_return co_await send(stream, std::move(late));
    }
    work->waiter.emplace(runtime_);
    runtime::Completion<bool> waiter = *work->waiter;
    const Deadline turn = std::min(deadline, runtime_.after(kProgress));
    const std::optional<bool> woken = co_await waiter.wait_until(turn);
    work->waiter.reset();
    if (woken.has_value()) continue;
    std::string progress = protocol::progress_line(operator_.progress());
    const bool sent = co_await send(stream, std::move(progress));
    if (!sent) co_return false;
  }
  const Result<protocol::Json>& outcome = *work->outcome;
  std::string last = outcome.has_value() ? protocol::success_line(*outcome)
                                         : protocol::failure_line(outcome.error());
  co_return co_await send(stream, std::move(last));
}

Task<void> ControlDoor::carry_out(protocol::Request request, std::shared_ptr<Work> work) {
  Result<protocol::Json> outcome = co_await operator_.carry_out(std::move(request));
  if (!outcome.has_value()) log_.warning("refused or failed: {}", outcome.error().to_string());
  work->outcome.emplace(std::move(outcome));
  if (work->waiter.has_value()) work->waiter->set(true);
}

}  // namespace cairn::chunkserver::control
