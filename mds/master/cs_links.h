// CsLinks: one channel to each chunk server the master talks to (Seal, Resolve; Repair on links of
// its own), made on demand.
//
// Promises: a CS that cannot be reached costs one connect at a time, not one per call.
// Limits:   kConnect for a connect, whatever the deadline of the call.
// Requires: the loop thread; co_await stop() before it dies.
// Errors:   those of connect_channel() and Channel::call().
#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/net/channel.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::mds::master {

class CsLinks {
 public:
  static constexpr Duration kConnect = 3s;
  CsLinks(runtime::Runtime& runtime, net::Network& network, const net::Credentials& credentials)
      : runtime_(runtime), network_(network), credentials_(credentials), closing_(runtime) {}

  Task<Result<net::Payload>> call(std::string address, std::uint16_t op, net::Payload request,
                                  Deadline deadline);
  // Calls under way to that address end with kConnectionLost; the next one connects anew.
  void drop(const std::string& address);
  // Calls under way end, later ones are refused with kCancelled. May be repeated.
  Task<void> stop();

 private:
  using Shared = std::shared_ptr<net::Channel>;
  Task<Result<Shared>> channel(std::string address, Deadline deadline);
  static Task<void> close(Shared channel);

  runtime::Runtime& runtime_;
  net::Network& network_;
  const net::Credentials& credentials_;
  std::map<std::string, Shared> open_;
  // Those who wait for the connect that somebody else began.
  std::map<std::string, std::vector<runtime::Completion<Status>>> connecting_;
  runtime::TaskGroup closing_;
  bool stopping_ = false;
};

}  // namespace cairn::mds::master
