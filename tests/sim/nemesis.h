// Nemesis: breaks things of a simulated cluster at random and mends them soon: chunk servers, MDS
// (kill, pause, cut off, wipe, replace), links.
//
// Promises: never breaks more than the system promises to survive: of the MDS at most one at a time
//           lost its disk, and the group never loses all. Outages overlap as they come.
// Requires: stop() before the cluster is looked at in the end.
#pragma once

#include <string>

#include "common/runtime/task_group.h"
#include "tests/sim/cluster.h"
#include "tests/sim/group_checker.h"
#include "tests/sim/run_report.h"

namespace cairn::sim {

class Nemesis {
 public:
  struct Options {
    unsigned clients = 2;   // mounts there are
    bool mds_only = false;  // somebody else sees to chunk servers and links
    std::uint64_t pause_ms_max = 1500;
  };
  Nemesis(SimWorld& world, SimCluster& cluster, Options options);

  void start();
  void set_pause(std::uint64_t ms_max) { options_.pause_ms_max = ms_max; }
  // No new faults; everything that is broken is mended.
  void stop();
  Coverage coverage() const;
  // When nobody served, the last time; while it runs.
  Instant unserved() const { return unserved_; }
  // What the checkers saw meanwhile: "" or the first thing.
  const std::string& failure() const { return failure_; }
  // After stop(): all MDS come into step and have the same. "" or what is wrong.
  std::string settle();

 private:
  void plan_next();
  void look();
  void strike();
  void strike_cs();
  void strike_link();
  void strike_mds();
  void kill_mds(SimMds& node);
  void pause_mds(SimMds& node);
  void isolate(SimMds& node);
  void wipe_mds(SimMds& node);
  void storm();
  void slow_log(SimMds& node);
  void replace_mds(SimMds& node);
  Task<void> replace(std::size_t index);
  bool may_lose(const SimMds& node);
  void start_later(std::size_t index, Duration pause);
  void cut_for(const std::string& a, const std::string& b, bool both, Duration outage);
  Duration draw(std::uint64_t low_ms, std::uint64_t high_ms);

  SimWorld& world_;
  SimCluster& cluster_;
  Options options_;
  SimRuntime& runtime_;
  GroupChecker checker_;
  runtime::TaskGroup tasks_;
  bool running_ = false;
  bool replacing_ = false;
  bool owes_member_ = false;  // one was taken out, or its addition has an unknown outcome
  Coverage coverage_;
  const SimMds* master_ = nullptr;  // that was seen last
  std::uint64_t looks_ = 0;
  Instant unserved_ = Instant::from_nanos(-3'600'000'000'000);
  std::string failure_;
};

}  // namespace cairn::sim
