#include "client/core/cs_links.h"

#include <algorithm>
#include <utility>

#include "common/base/limits.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {
constexpr Duration kConnectTimeout = 1s;
constexpr Duration kAvoidFirst = 200ms;
constexpr Duration kAvoidMost = 1s;
constexpr Duration kSlowFor = 2s;
constexpr Duration kLook = 250ms;       // how often a link is looked at while requests wait
constexpr Duration kMoveTakes = 1s;     // nobody is back elsewhere sooner
constexpr Duration kPingTimeout = 10s;  // of the request; silence ends it sooner
// A ping always finds room.
constexpr std::size_t kWaitingMax = limits::kChannelRequestsInFlightMax - 8;
}  // namespace

CsLinks::Link::Link(runtime::Runtime& runtime)
    : backoff(kAvoidFirst, kAvoidMost), last_error(Code::kUnavailable), changed(runtime) {}

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

void CsLinks::start_connect(Link& link, const std::string& address) {
  link.connecting = true;
  tasks_.spawn(connect(&link, address));
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
    link->channel->on_close([this, link] { link->broken_at = runtime_.now(); });
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
  link->changed.notify_all();
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
      start_connect(at, address);
      if (!at.connecting) continue;
    }
    co_await at.changed.wait_until(deadline);
  }
}

Task<Result<net::Payload>> CsLinks::call(std::string address, std::uint16_t op,
                                         net::Payload request, Deadline deadline) {
  Result<std::shared_ptr<net::Channel>> to = co_await channel(address, deadline);
  if (!to.has_value()) co_return fail(std::move(to).error());
  const std::shared_ptr<net::Channel> open = *to;
  Link& at = link(address);
  if (at.waiting >= kWaitingMax) co_return fail(Code::kOverloaded, "too many requests wait");
  if (at.waiting++ == 0) at.waiting_since = runtime_.now();
  if (!std::exchange(at.watched, true)) tasks_.spawn(watch(&at));
  Result<net::Payload> answer = co_await open->call(op, std::move(request), deadline);
  --at.waiting;
  co_return answer;
}

// Lives while requests wait. Counts silence in looks, so that a pause of this process, in which
// nothing could be received, is no silence of the others.
Task<void> CsLinks::watch(Link* link) {
  Duration silent{};
  while (link->waiting != 0 && !stopping_) {
    const Instant before = runtime_.now();
    co_await link->changed.wait_until(before + kLook);
    if (link->channel == nullptr || !link->channel->is_open()) {
      silent = Duration();
      continue;
    }
    const Instant now = runtime_.now();
    const Instant heard = std::max(link->channel->heard_at(), link->waiting_since);
    silent = heard >= before ? now - heard : silent + std::min(now - before, 2 * kLook);
    if (silent >= kSilent) {
      give_up(*link);
    } else if (silent >= kPingAfter && !link->pinging) {
      link->pinging = true;
      tasks_.spawn(ping(link));
    }
  }
  link->watched = false;
}

Task<void> CsLinks::ping(Link* link) {
  const std::shared_ptr<net::Channel> channel = link->channel;
  const Deadline deadline = runtime_.after(kPingTimeout);
  net::Payload nothing;
  const Result<net::Payload> answer =
      co_await channel->call(pb::OP_PING, std::move(nothing), deadline);
  ignore(answer, "that it came at all is the answer; older ones do not know the op");
  link->pinging = false;
}

void CsLinks::give_up(Link& link) {
  std::shared_ptr<net::Channel> silent = std::move(link.channel);
  link.channel = nullptr;
  link.last_error = Error(Code::kConnectionLost, silent->peer() + " is silent");
  link.broken_at = runtime_.now();
  if (link.down_since == Instant()) link.down_since = runtime_.now();
  link.avoid_until = runtime_.after(link.backoff.next(runtime_.random()));
  tasks_.spawn(retire(std::move(silent)));
}

void CsLinks::post(const std::string& address, std::uint16_t op, net::Payload request) {
  const auto found = links_.find(address);
  if (found == links_.end() || found->second->channel == nullptr) return;
  if (found->second->channel->is_open()) found->second->channel->post(op, std::move(request));
}

void CsLinks::mark_slow(const std::string& address) {
  link(address).slow_until = runtime_.after(kSlowFor);
}

bool CsLinks::avoided(const std::string& address) {
  const auto found = links_.find(address);
  if (found == links_.end()) return false;
  Link& at = *found->second;
  const Instant now = runtime_.now();
  if (at.down_since != Instant()) {
    if (!at.connecting && now >= at.avoid_until && !stopping_) start_connect(at, address);
    return at.down_since != Instant();
  }
  return now < at.slow_until;
}

Duration CsLinks::down_for(const std::string& address) const {
  const auto found = links_.find(address);
  if (found == links_.end() || found->second->down_since == Instant()) return Duration();
  return std::max(runtime_.now() - found->second->down_since, Duration(1));
}

bool CsLinks::may_have_moved(const std::string& address) const {
  const auto found = links_.find(address);
  if (found == links_.end() || found->second->down_since == Instant()) return false;
  const Instant broken = found->second->broken_at;
  return broken == Instant() || runtime_.now() - broken >= kMoveTakes;
}

Task<void> CsLinks::stop() {
  stopping_ = true;
  for (const auto& [address, link] : links_) {
    link->changed.notify_all();
    if (link->channel == nullptr) continue;
    std::shared_ptr<net::Channel> open = std::move(link->channel);
    link->channel = nullptr;
    tasks_.spawn(retire(std::move(open)));
  }
  co_await tasks_.join();
}

}  // namespace cairn::client
