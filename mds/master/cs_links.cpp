#include "mds/master/cs_links.h"

#include <algorithm>

namespace cairn::mds::master {

namespace {
Task<Result<net::Payload>> serve_nothing() {
  co_return fail(Code::kUnsupported, "an MDS serves no requests on this channel");
}
}  // namespace

Task<void> CsLinks::close(Shared channel) {
  channel->close();
  co_await channel->closed();
}

Task<Result<CsLinks::Shared>> CsLinks::channel(std::string address, Deadline deadline) {
  for (;;) {
    if (stopping_) co_return fail(Code::kCancelled, "the MDS is stopping");
    const auto known = open_.find(address);
    if (known != open_.end()) {
      if (known->second->is_open()) co_return known->second;
      closing_.spawn(close(known->second));
      open_.erase(known);
    }
    const auto pending = connecting_.find(address);
    if (pending == connecting_.end()) break;
    runtime::Completion<Status> done(runtime_);
    pending->second.push_back(done);
    const Status status = co_await done.wait();
    if (!status.has_value()) co_return fail(status.error());
  }
  CO_TRY(net::Address to, net::Address::parse(address));
  connecting_[address];
  net::Channel::Handler handler = [](std::uint16_t, net::Payload) { return serve_nothing(); };
  Result<std::unique_ptr<net::Channel>> made = co_await net::connect_channel(
      runtime_, network_, std::move(to), credentials_, std::move(handler), deadline);
  const Status outcome = made.has_value() ? Status() : Status(fail(made.error()));
  auto waiters = connecting_.extract(address);
  for (runtime::Completion<Status>& waiter : waiters.mapped()) waiter.set(outcome);
  if (!made.has_value()) co_return fail(std::move(made).error());
  Shared shared(std::move(*made));
  open_[address] = shared;
  co_return shared;
}

Task<Result<net::Payload>> CsLinks::call(std::string address, std::uint16_t op,
                                         net::Payload request, Deadline deadline) {
  const Deadline connected = std::min(deadline, runtime_.after(kConnect));
  Result<Shared> link = co_await channel(std::move(address), connected);
  if (!link.has_value()) co_return fail(std::move(link).error());
  Result<net::Payload> reply = co_await (*link)->call(op, std::move(request), deadline);
  co_return reply;
}

void CsLinks::drop(const std::string& address) {
  auto dropped = open_.extract(address);
  if (!dropped.empty()) closing_.spawn(close(std::move(dropped.mapped())));
}

Task<void> CsLinks::stop() {
  stopping_ = true;
  for (auto& [address, channel] : open_) closing_.spawn(close(channel));
  open_.clear();
  co_await closing_.join();
}

}  // namespace cairn::mds::master
