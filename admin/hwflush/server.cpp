#include "admin/hwflush/server.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "admin/hwflush/comparison.h"
#include "admin/hwflush/limits.h"
#include "common/base/check.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin::hwflush {
namespace {

constexpr mode_t kStateMode = 0600;

Result<std::string> read_state(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    // Not there is not an error: the first start.
    if (errno == ENOENT) return std::string();  // the first start
    return fail(cluster::system_error(errno, "open", path));
  }
  std::string text(kStateBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad()) return fail(Code::kDiskFailed, "read " + path + " failed");
  if (text.size() > kStateBytesMax) return fail(Code::kTooBig, path + " is too big");
  return text;
}

}  // namespace

struct Server::Connection {
  Connection(std::unique_ptr<net::Stream> accepted) : stream(std::move(accepted)) {}
  std::string name() const {
    return greeted ? hello.host + ":" + hello.path : "a client at " + stream.peer();
  }

  MessageStream stream;
  Hello hello;
  bool greeted = false;
};

Server::Server(runtime::Runtime* runtime, net::Network* network, Options options)
    : runtime_(*runtime),
      network_(*network),
      options_(std::move(options)),
      tasks_(*runtime),
      saved_(*runtime) {}

Server::~Server() = default;

Status Server::load() {
  if (options_.state_file.empty()) return {};
  TRY(const std::string text, read_state(options_.state_file));
  if (!text.empty()) {
    TRY(memory_, Memory::parse(text));
  }
  // Now is the time to find out that it cannot be written.
  return cluster::write_file_durably(options_.state_file, memory_.to_text(), kStateMode);
}

Status Server::start() {
  TRY_VOID(load());
  TRY(listener_, network_.listen(options_.at, [this](std::unique_ptr<net::Stream> stream) {
    accept(std::move(stream));
  }));
  return {};
}

net::Address Server::address() const { return listener_->address(); }

Task<void> Server::stop() {
  if (listener_ != nullptr) listener_->close();
  for (const auto& connection : connections_) connection->stream.close();
  co_await tasks_.join();
}

void Server::accept(std::unique_ptr<net::Stream> stream) {
  auto connection = std::make_shared<Connection>(std::move(stream));
  if (connections_.size() >= kConnectionsMax) {
    options_.say(fmt::format("refused {}: {} clients are connected", connection->name(),
                             connections_.size()));
    connection->stream.close();
    return;
  }
  connections_.push_back(connection);
  tasks_.spawn(serve(connection));
}

Task<void> Server::serve(std::shared_ptr<Connection> connection) {
  // A connection that says nothing does not hold its place for ever.
  std::weak_ptr<Connection> weak = connection;
  const runtime::TimerId timer = runtime_.schedule(runtime_.after(kHelloTime), [weak] {
    if (const auto alive = weak.lock()) alive->stream.close();
  });
  Status ended = co_await greet(connection.get());
  runtime_.cancel(timer);
  if (ended.has_value()) ended = co_await take_reports(connection.get());
  if (!ended.has_value() && ended.error().code() != Code::kConnectionLost) {
    options_.say("error: " + connection->name() + ": " + ended.error().message());
    Message refusal = Refuse{ended.error().message()};
    const Status told = co_await connection->stream.write(std::move(refusal));
    ignore(told, "it may have gone");
  } else {
    options_.say(connection->name() + " left");
  }
  connection->stream.close();
  std::erase(connections_, connection);
}

Task<Status> Server::greet(Connection* connection) {
  Result<Message> first = co_await connection->stream.read();
  if (!first.has_value()) co_return fail(first.error());
  Hello* const hello = std::get_if<Hello>(&*first);
  if (hello == nullptr) co_return fail(Code::kProtocol, "it did not say who it is");
  connection->hello = std::move(*hello);
  connection->greeted = true;
  end_older(connection);
  const Known known = memory_.find(connection->hello);
  const Comparison comparison = compare_counters(connection->hello.on_disk, known.on_server);
  options_.say(fmt::format("{} came with {} counters, {} are known", connection->name(),
                           connection->hello.on_disk.size(), known.on_server.size()));
  Message answer = known;
  const Status told = co_await connection->stream.write(std::move(answer));
  if (!told.has_value()) co_return fail(told.error());
  if (comparison.good()) co_return Status();
  co_return fail(Code::kRefusedForSafety, verdict(comparison, known.by));
}

Task<Status> Server::take_reports(Connection* connection) {
  for (;;) {
    Result<Message> next = co_await connection->stream.read();
    if (!next.has_value()) co_return fail(next.error());
    const Report* const report = std::get_if<Report>(&*next);
    if (report == nullptr) co_return fail(Code::kProtocol, "a message out of turn");
    const Status taken = memory_.take(connection->hello, report->flushed);
    if (!taken.has_value()) co_return fail(taken.error());
    const Status kept = co_await keep();
    if (!kept.has_value()) co_return fail(kept.error());
    Message answer = Acknowledge{report->sequence};
    const Status told = co_await connection->stream.write(std::move(answer));
    if (!told.has_value()) co_return fail(told.error());
  }
}

Task<Status> Server::keep() {
  if (options_.state_file.empty()) co_return Status();
  const std::uint64_t mine = ++wanted_;
  if (!std::exchange(save_planned_, true)) {
    runtime_.post([this] { save(); });
  }
  while (kept_ < mine && state_of_file_.has_value()) co_await saved_.wait();
  co_return state_of_file_;
}

// After the turn in which the first report came: all that came in it share one write.
void Server::save() {
  save_planned_ = false;
  if (!state_of_file_.has_value()) return saved_.notify_all();
  const std::uint64_t version = wanted_;
  state_of_file_ = cluster::write_file_durably(options_.state_file, memory_.to_text(), kStateMode);
  if (state_of_file_.has_value()) {
    kept_ = version;
  } else {
    options_.on_failure(state_of_file_.error());
  }
  saved_.notify_all();
}

void Server::end_older(const Connection* connection) {
  for (const auto& other : connections_) {
    if (other.get() == connection || !other->greeted) continue;
    if (other->hello.directory == connection->hello.directory) other->stream.close();
  }
}

}  // namespace cairn::admin::hwflush
