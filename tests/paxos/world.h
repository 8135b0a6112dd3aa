// World: what all parts of one simulated run share: time, chance, network, truth, and the members
// and clients themselves.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/paxos/linearizability.h"
#include "tests/paxos/network.h"
#include "tests/paxos/oracle.h"
#include "tests/paxos/schedule.h"
#include "tests/paxos/settings.h"
#include "tests/paxos/stats.h"
#include "tests/paxos/trace.h"

namespace cairn::paxos_sim {

class Member;
class Client;

struct Request {
  End client = 0;
  std::uint64_t session = 0;
  std::uint64_t seq = 0;
  std::uint32_t key = 0;
  RegisterOp op{};
  std::uint32_t padding = 0;
};
enum class ReplyStatus : std::uint8_t { kOk, kNotMaster, kOverloaded };
struct Reply {
  std::uint64_t session = 0;
  std::uint64_t seq = 0;
  ReplyStatus status = ReplyStatus::kOk;
  std::uint64_t result = 0;
  NodeId leader;  // kNotMaster: who may know
};

// An operation as its client saw it.
struct Seen {
  Operation operation;
  std::uint64_t session = 0;
  std::uint64_t seq = 0;
};

class World {
 public:
  explicit World(const Settings& settings);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // ---- transport ----
  void send(NodeId from, NodeId to, paxos::Message message);
  void request(NodeId to, const Request& request);
  void reply(NodeId from, End to, const Reply& reply);
  bool can_talk(NodeId a, NodeId b) const;

  // ---- members ----
  Member* member(NodeId id);
  // The member of this id, made and not started if there is none.
  Member& make_member(NodeId id, const paxos::Membership& bootstrap);
  // Who serves, as far as it believes itself; nullptr: nobody.
  Member* master();
  // All ids that exist.
  std::vector<NodeId> ids() const;
  // Those of the present members.
  std::vector<NodeId> member_ids() const;

  // A line of the transcript.
  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    if (trace.verbose())
      trace.line(schedule.now(), fmt::format(format, std::forward<Args>(args)...));
  }
  // Logical time for histories: never the same twice.
  std::uint64_t tell_time() { return ++told_; }
  void note(std::uint64_t what, std::uint64_t more) { trace.note(schedule.now(), what, more); }

  // Runs until `until` says so, or something is wrong, or `deadline`. False: the deadline came.
  bool run(Duration deadline, const std::function<bool()>& until);
  // No two members may serve at one instant.
  void check_one_server();

  Settings settings;
  Prng prng;
  Schedule schedule;
  Trace trace;
  Stats stats;
  Oracle oracle;
  Network network;
  DiskSettings disk;
  Duration apply_lag;
  bool healed = false;
  std::uint64_t messages = 0;  // between members
  // Messages that were sent before this moment are lost.
  Duration lost_before{0};

  std::map<NodeId, std::unique_ptr<Member>> members;
  std::vector<std::unique_ptr<Client>> clients;
  // Memberships that were proposed and whose fate may be open.
  std::vector<paxos::Membership> proposed;
  // What clients saw, by key.
  std::vector<std::vector<Seen>> histories;

 private:
  std::uint64_t told_ = 0;
};

}  // namespace cairn::paxos_sim
