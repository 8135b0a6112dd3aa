#include "client/core/cs_links.h"

#include <utility>

namespace cairn::client {

namespace {
constexpr Duration kConnectTimeout = 1s;
constexpr Duration kAvoidFirst = 200ms;
constexpr Duration kAvoidMost = 1s;
constexpr Duration kSlowFor = 2s;
}  // namespace

CsLinks::Link::Link(runtime::Runtime& runtime)
    : backoff(kAvoidFirst, kAvoidMost), last_error(Code::kUnavailable), connected(runtime) {}

CsLinks::CsLinks(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials)
    : runtime_(runtime), network_(network), credentials_(std::move(credentials)), tasks_(runtime) {}

CsLinks::~CsLinks() {
  for (const auto& [address, link] : links_) CHECK(link->channel == nullptr);
}

Task<Result<net::Payload>> CsLinks::serve(std::uint16_t /*op*/, net::Payload /*request*/) {
  co_return fail(Code::kUnsupported, "a client serves nothing to chunk servers");
}

CsLinks::Link& CsLinks::link(const std::string& address) {
  std::unique_ptr<Link>& slot = links_[address];
  if (slot == nullptr) slot = std::make_unique<Link>(runtime_);
  return *slot;
}

Task<void> CsLinks::retire(std::shared_ptr<net::Channel> channel) {
  channel->close();
  co_await channel->closed();
}

Task<void> CsLinks::connect(Link* link, std::string address) {
  Result<net::Address> to = net::Address::parse(address);
  Result<std::unique_ptr<net::Channel>> made = fail(Code::kUnavailable, "no address");
  if (to.has_value()) {
    const Deadline deadline = runtime_.after(kConnectTimeout);
    net::Channel::Handler handler = serve;
    made = co_await net::connect_channel(runtime_, network_, *to, credentials_, std::move(handler),
                                         deadline);
  }
  link->connecting = false;
  if (made.has_value() && !stopping_) {
    link->channel = std::move(*made);
    link->backoff.reset();
    link->avoid_until = Instant();
    link->down_since = Instant();
  } else {
    if (made.has_value()) {
      std::shared_ptr<net::Channel> unwanted = std::move(*made);
      tasks_.spawn(retire(std::move(unwanted)));
    } else {
      link->last_error = made.error();
    }
    if (link->down_since == Instant()) link->down_since = runtime_.now();
    link->avoid_until = runtime_.after(link->backoff.next(runtime_.random()));
  }
  link->connected.notify_all();
}

Task<Result<std::shared_ptr<net::Channel>>> CsLinks::channel(std::string address,
                                                             Deadline deadline) {
  Link& at = link(address);
  for (;;) {
    if (stopping_) co_return fail(Code::kCancelled, "the mount is being stopped");
    if (at.channel != nullptr && at.channel->is_open()) co_return at.channel;
    if (at.channel != nullptr) {
      std::shared_ptr<net::Channel> broken = std::move(at.channel);
      at.channel = nullptr;
      tasks_.spawn(retire(std::move(broken)));
    }
    if (runtime_.now() >= deadline) co_return fail(Code::kTimeout, "connecting to " + address);
    if (!at.connecting) {
      if (runtime_.now() < at.avoid_until) {
        co_return fail(Code::kUnavailable, address + ": " + at.last_error.to_string());
      }
      at.connecting = true;
      tasks_.spawn(connect(&at, address));
      if (!at.connecting) continue;
    }
    co_await at.connected.wait_until(deadline);
  }
}

Task<Result<net::Payload>> CsLinks::call(std::string address, std::uint16_t op,
                                         net::Payload request, Deadline deadline) {
  Result<std::shared_ptr<net::Channel>> to = co_await channel(address, deadline);
  if (!to.has_value()) co_return fail(std::move(to).error());
  const std::shared_ptr<net::Channel> open = *to;
  Result<net::Payload> answer = co_await open->call(op, std::move(request), deadline);
  co_return answer;
}

void CsLinks::post(const std::string& address, std::uint16_t op, net::Payload request) {
  const auto found = links_.find(address);
  if (found == links_.end() || found->second->channel == nullptr) return;
  if (found->second->channel->is_open()) found->second->channel->post(op, std::move(request));
}

void CsLinks::mark_slow(const std::string& address) {
  link(address).slow_until = runtime_.after(kSlowFor);
}

bool CsLinks::avoided(const std::string& address) const {
  const auto found = links_.find(address);
  if (found == links_.end()) return false;
  const Instant now = runtime_.now();
  return now < found->second->avoid_until || now < found->second->slow_until;
}

Duration CsLinks::down_for(const std::string& address) const {
  const auto found = links_.find(address);
  if (found == links_.end() || found->second->down_since == Instant()) return Duration();
  return runtime_.now() - found->second->down_since;
}

Task<void> CsLinks::stop() {
  stopping_ = true;
  for (const auto& [address, link] : links_) {
    link->connected.notify_all();
    if (link->channel == nullptr) continue;
    std::shared_ptr<net::Channel> open = std::move(link->channel);
    link->channel = nullptr;
    tasks_.spawn(retire(std::move(open)));
  }
  co_await tasks_.join();
}

}  // namespace cairn::client
