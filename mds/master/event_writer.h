// EventWriter: what happened in the cluster, for people: into the log (get-event) and the daemon's
// lines.
//
// Limits:   kQueueMax events wait; more are only logged as lines.
// Requires: the loop thread; spawn run() into the task group of the environment; stop() ends it.
#pragma once

#include <deque>
#include <string>

#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "mds/master/environment.h"

namespace cairn::mds::master {

class EventWriter {
 public:
  static constexpr std::size_t kQueueMax = 1000;
  explicit EventWriter(Environment env) : env_(env), wake_(env.runtime) {}

  // `subsystem`: MDS, CS, CLN.
  void write(std::string subsystem, observe::Severity severity, std::string message);
  static Task<void> run(EventWriter* self);
  void stop() { wake_.notify_all(); }

 private:
  Environment env_;
  runtime::Signal wake_;
  std::deque<pb::Event> queue_;
};

}  // namespace cairn::mds::master
