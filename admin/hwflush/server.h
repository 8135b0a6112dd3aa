// The server of hwflush-check: remembers what clients say is on their devices.
//
// Promises: acknowledges a report when it will not be forgotten: in memory, or with a state file
//           when that is on this machine's disk (one write for all reports that came meanwhile).
// Limits:   kConnectionsMax, kDirectoriesMax.
// Requires: stop() is awaited before it dies; everything on the loop.
// Errors:   of start(): kBusy (the port), kCorrupt (the state file), as cluster::system_error.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "admin/hwflush/memory.h"
#include "admin/hwflush/message_stream.h"
#include "common/net/stream.h"
#include "common/runtime/runtime.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::admin::hwflush {

class Server {
 public:
  struct Options {
    net::Address at;
    std::string state_file;  // empty: memory only
    // A line for the operator, without the newline.
    std::function<void(const std::string&)> say;
    // The state can no longer be kept: nothing is acknowledged from then on.
    std::function<void(const Error&)> on_failure;
  };
  Server(runtime::Runtime* runtime, net::Network* network, Options options);
  ~Server();

  Status start();
  net::Address address() const;
  const Memory& memory() const { return memory_; }
  Task<void> stop();

 private:
  struct Connection;

  Status load();
  void accept(std::unique_ptr<net::Stream> stream);
  Task<void> serve(std::shared_ptr<Connection> connection);
  Task<Status> greet(Connection* connection);
  Task<Status> take_reports(Connection* connection);
  // Returns when the memory as it is now survives a restart.
  Task<Status> keep();
  void save();
  // Connections of the same directory that are still open: their client has died.
  void end_older(const Connection* connection);

  runtime::Runtime& runtime_;
  net::Network& network_;
  Options options_;
  Memory memory_;
  std::unique_ptr<net::Listener> listener_;
  std::list<std::shared_ptr<Connection>> connections_;
  runtime::TaskGroup tasks_;
  runtime::Signal saved_;
  std::uint64_t wanted_ = 0;  // versions of the memory that someone waits for
  std::uint64_t kept_ = 0;
  bool save_planned_ = false;
  Status state_of_file_;
};

}  // namespace cairn::admin::hwflush
