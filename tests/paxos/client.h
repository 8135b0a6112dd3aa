// Client: one operation at a time, retried with the same (session, seq) at another member until
// somebody answers or it gives up. Everything it saw goes into the history.
#pragma once

#include <functional>
#include <optional>

#include "tests/paxos/world.h"

namespace cairn::paxos_sim {

class Client {
 public:
  Client(World& world, End end) : world_(world), end_(end) {}

  void start();
  void on_reply(NodeId from, const Reply& reply);
  // From now on: finish the present operation, change and read every register once more, then rest.
  void finish();
  bool finished() const { return finishing_ && last_ops_ == 0 && !running_.has_value(); }
  // Operations without an answer go into the history as such.
  void close();

 private:
  struct Running {
    Request request;
    std::uint64_t called = 0;
    std::uint64_t attempt = 0;
    std::uint64_t attempts = 0;
  };

  void think();
  void begin();
  RegisterOp draw_op(bool read);
  void attempt();
  NodeId anybody() const;
  void retry_in(Duration delay);
  void answered(const Reply& reply);
  void give_up();
  void record(std::uint64_t returned, std::uint64_t result);

  World& world_;
  End end_;
  std::uint64_t session_ = 0;
  std::uint64_t seq_ = 0;
  NodeId target_;
  bool wanders_ = false;
  std::optional<Running> running_;
  std::uint64_t last_seen_ = 0;  // of some register: what a cas may expect
  std::uint64_t thinking_ = 0;
  bool finishing_ = false;
  std::uint32_t last_ops_ = 0;
};

}  // namespace cairn::paxos_sim
