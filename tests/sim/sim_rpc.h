// SimControlPlane: control-plane calls between simulated nodes, instead of gRPC: a request travels
// to the
// door's runtime, its handler runs there, the answer travels back; a dead door never answers.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/net/stream.h"
#include "common/rpc/rpc.h"
#include "common/runtime/task_group.h"
#include "tests/sim/sim_runtime.h"

namespace cairn::sim {

class SimControlPlane {
 public:
  struct Door {
    SimRuntime* runtime = nullptr;
    const rpc::Dispatcher* dispatcher = nullptr;
    runtime::TaskGroup* tasks = nullptr;  // of the node: joined before it ends
  };
  void open(const std::string& name, Door door) { doors_[name] = door; }
  void close(const std::string& name) { doors_.erase(name); }
  std::unique_ptr<rpc::Caller> caller(SimRuntime& from, std::string door_name);

 private:
  friend class SimCaller;
  std::map<std::string, Door> doors_;
};

}  // namespace cairn::sim
