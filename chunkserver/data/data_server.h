// DataServer: accepts data-plane connections and serves each with the DataService.
//
// Owns:     the listener and the channels.
// Limits:   kConnectionsMax; more are closed at once.
// Requires: co_await stop() before it dies.
#pragma once

#include <memory>

#include "chunkserver/data/data_service.h"
#include "common/base/arrival_set.h"
#include "common/net/channel.h"
#include "common/net/stream.h"
#include "common/observe/log.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::data {

inline constexpr std::size_t kConnectionsMax = 8192;

class DataServer {
 public:
  DataServer(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials,
             DataService& service, observe::Log& log);
  DataServer(const DataServer&) = delete;
  DataServer& operator=(const DataServer&) = delete;

  // Errors: kBusy. Port 0: any; the answer says which.
  Result<net::Address> start(net::Address at);
  // Nothing new is accepted, channels are closed; resumes when nothing of them runs.
  Task<void> stop();
  std::size_t connections() const { return channels_.size(); }

 private:
  void accept(std::unique_ptr<net::Stream> stream);
  static Task<void> serve(DataServer* self, std::unique_ptr<net::Stream> stream);

  runtime::Runtime& runtime_;
  net::Network& network_;
  net::Credentials credentials_;
  DataService& service_;
  observe::Log& log_;
  std::unique_ptr<net::Listener> listener_;
  ArrivalSet<net::Channel*> channels_;
  bool stopping_ = false;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::data
