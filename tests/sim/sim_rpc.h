// SimControlPlane: control-plane calls between simulated nodes, instead of gRPC: a request travels
// to the door's runtime, its handler runs there, the answer travels back; a dead door never
// answers, and what would travel over a cut link is lost.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/rpc/rpc.h"
#include "common/runtime/task_group.h"
#include "tests/sim/sim_network.h"

namespace cairn::sim {

class SimControlPlane {
 public:
  explicit SimControlPlane(SimFabric& fabric) : fabric_(fabric) {}

  struct Door {
    SimRuntime* runtime = nullptr;
    const rpc::Dispatcher* dispatcher = nullptr;
    runtime::TaskGroup* tasks = nullptr;  // of the node: joined before it ends
    std::string host;
  };
  void open(const std::string& name, Door door) { doors_[name] = std::move(door); }
  void close(const std::string& name) { doors_.erase(name); }
  // From a process on `host`.
  std::unique_ptr<rpc::Caller> caller(SimRuntime& from, std::string host, std::string door_name);

 private:
  friend class SimCaller;
  SimFabric& fabric_;
  std::map<std::string, Door> doors_;
};

}  // namespace cairn::sim
