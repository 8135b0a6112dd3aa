// ControlDoor: takes requests of this host's administrator, one line each, and answers them
// (common/cluster/control_protocol.h).
//
// Promises: a request is answered within its timeout, with progress every second meanwhile; what
//           takes longer is told so and goes on. A client that leaves stops nothing. Nothing that
//           arrives here can harm the daemon but by what an Operator does.
// Requires: the loop thread; co_await stop() before it dies; operator and log outlive it. Work that
//           an operator has begun ends when its store closes: stop() waits for it.
// Limits:   kConnectionsMax connections, one request at a time each, kControlLineMax bytes a line,
//           kIdle between requests.
#pragma once

#include <memory>
#include <string>

#include "common/base/arrival_set.h"
#include "common/cluster/control_protocol.h"
#include "common/net/stream.h"
#include "common/observe/log.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::control {

namespace protocol = cairn::cluster::control;

// Carries out what is asked.
class Operator {
 public:
  virtual ~Operator() = default;
  // The state, for the answer. Errors are those of the work.
  virtual Task<Result<protocol::Json>> carry_out(protocol::Request request) = 0;
  // How far long work is, for people.
  virtual protocol::Json progress() const = 0;
};

class ControlDoor {
 public:
  static constexpr std::size_t kConnectionsMax = 16;
  static constexpr Duration kIdle = 60s;
  static constexpr Duration kProgress = 1s;

  ControlDoor(runtime::Runtime& runtime, Operator& work, observe::Log& log)
      : runtime_(runtime), operator_(work), log_(log), serving_(runtime), working_(runtime) {}
  ControlDoor(const ControlDoor&) = delete;
  ControlDoor& operator=(const ControlDoor&) = delete;

  void accept(std::unique_ptr<net::Stream> stream);
  // Serves until the other end is gone; for a door with one client.
  Task<void> serve(std::unique_ptr<net::Stream> stream);
  // Takes nothing new and closes connections. Work goes on.
  void close();
  Task<void> stop();

 private:
  struct Work;
  Task<bool> answer(net::Stream* stream, std::string line);
  Task<void> carry_out(protocol::Request request, std::shared_ptr<Work> work);

  runtime::Runtime& runtime_;
  Operator& operator_;
  observe::Log& log_;
  ArrivalSet<net::Stream*> streams_;
  bool closed_ = false;
  runtime::TaskGroup serving_;
  runtime::TaskGroup working_;
};

}  // namespace cairn::chunkserver::control
