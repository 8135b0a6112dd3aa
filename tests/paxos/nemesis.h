// Nemesis: does, at random times, what the world does to a cluster, and what administrators do.
//
// Promises: never more lost acceptor states at once than the protocol survives
//           (docs/protocols/paxos.md, Recovery); never a membership that could not decide anything.
#pragma once

#include <functional>

#include "tests/paxos/world.h"

namespace cairn::paxos_sim {

class Nemesis {
 public:
  explicit Nemesis(World& world) : world_(world) {}

  void start();
  // No more faults; everything that is broken is repaired, everybody who is a member runs.
  void stop();

 private:
  void plan();
  void strike();
  Member* pick_running();
  Duration some_time();

  void crash_one(bool at_effect);
  void power_failure();
  void lose_log();
  void pause_one();
  void partition();
  void cut_one_way();
  void clog();
  void yield();

  // nemesis_members.cpp
  // So many lost acceptor states, with `also` among them, are survived by every membership that may
  // still matter.
  bool survivable(NodeId also) const;
  bool may_decide(const paxos::Membership& membership) const;
  void change_members();
  bool add(paxos::Membership* next);
  bool promote(paxos::Membership* next);
  bool remove(const Member& master, paxos::Membership* next);
  bool move(paxos::Membership* next);
  void propose(Member& master, const paxos::Membership& next);
  void destroy_removed();

  World& world_;
  bool stopped_ = false;
  NodeId remove_next_;  // it yielded, and is to be removed by the next master
};

}  // namespace cairn::paxos_sim
