// Member: one simulated MDS process with its disk: the consensus core, and a driver that does what
// Group does, with everything that can strike between two of its steps.
//
// Owns:     the core of the present life; log and durable tables of all lives.
// Promises: the order of effects that the core demands; crash() may come between any two of them.
// Requires: one World; members live as long as it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "tests/paxos/drift_clock.h"
#include "tests/paxos/model_log.h"
#include "tests/paxos/tables.h"
#include "tests/paxos/world.h"

namespace cairn::paxos_sim {

class Member {
 public:
  Member(World& world, NodeId id, paxos::Membership bootstrap);
  ~Member();

  // ---- life ----
  // Nothing when it runs already, or is gone for good.
  void start();
  // The process is killed; with the power its unfinished write may be lost.
  void crash();
  // After so many more effects.
  void crash_after(unsigned effects) { fuse_ = effects; }
  // While its log is being written the next time.
  void crash_in_write() { crash_in_write_ = true; }
  void crash_never() {
    fuse_.reset();
    crash_in_write_ = false;
  }
  void pause(Duration length);
  void resume();
  // While it is down: acceptor state gone, and on demand the tables too.
  void lose_log(bool tables_too);
  // Never comes back: a removed member whose machine was taken away.
  void destroy();

  bool running() const { return core_ != nullptr; }
  bool paused() const { return paused_; }
  bool destroyed() const { return destroyed_; }
  // It knows that it was removed, and has stopped for good.
  bool retired() const { return retired_; }
  // Its promises may be forgotten: no vote of it counts.
  bool lost() const { return destroyed_ || log_.image().recovering; }
  NodeId id() const { return id_; }

  // ---- inputs ----
  void receive(NodeId from, std::shared_ptr<const paxos::Message> message);
  void serve(const Request& request);
  bool change_members(const paxos::Membership& next);
  bool yield(NodeId to);

  // ---- what is seen of it ----
  bool leads() const { return led_.valid(); }
  bool serving() const { return serving_.valid(); }
  bool may_serve() const;
  const paxos::Replica& core() const { return *core_; }
  const Tables& tables() const { return tables_; }
  // Every slot up to this survives any crash here as chosen.
  Slot durably_known() const;
  // Everything given out as chosen is applied.
  bool applied_all() const { return to_apply_.empty(); }
  // Nobody waits for an answer of the core.
  bool answered_all() const { return proposals_.empty() && confirming_.empty(); }

 private:
  struct Proposal {
    std::optional<Request> request;  // none: a membership
    std::uint64_t hash = 0;
  };
  struct ToApply {
    std::optional<paxos::Chosen> chosen;
    std::optional<Request> request;  // whom to answer
    std::optional<paxos::Notice> notice;
  };
  struct Reading {
    Request request;
    std::uint64_t result = 0;
    paxos::Ballot reign;
    std::uint64_t round = 0;  // 0: not asked yet
  };

  Instant local_now() const { return clock_.local(world_.schedule.now()); }
  // In this life, when it is not paused.
  void post(Duration delay, Schedule::Action action);
  // True: the process just died.
  bool burn();
  std::string name() const;

  // Gives the core an input and carries out what it asks for. False: it did not survive that.
  bool step(const std::function<void(paxos::Replica&)>& input);
  void forget_life();
  void check_step();
  void carry_out(paxos::Effects effects);
  bool hand_over(paxos::Effects* effects);
  bool send_all(const std::vector<paxos::Outgoing>& messages);
  void arm_tick();

  // ---- log ----
  void start_write();
  void write_done();
  void reported(std::uint64_t record);
  void watch(const std::vector<paxos::Record>& durable);
  void watch_message(const paxos::Outgoing& out);
  void watch_accepted(paxos::Ballot ballot, Slot first, Slot last);
  void watch_log(Slot chosen);
  void watch_chosen(Slot slot);
  void send_from_log(const paxos::SendChosen& job);
  void plan_flush();
  void start_flush();
  void flushed(std::shared_ptr<const Tables> copy);

  // ---- tables ----
  void queue_chosen(std::vector<paxos::Chosen> chosen);
  void queue_notice(const paxos::Notice& notice);
  void apply_soon();
  void apply_some(std::size_t count);
  bool apply_one(ToApply item);
  void look_at(const paxos::Notice& notice);
  void elected(paxos::Ballot ballot);
  void deposed(paxos::Ballot ballot);
  void stop_if_removed(const paxos::Membership& membership);
  void retire();
  void pull_snapshot(NodeId from);
  void install(const Tables& snapshot);

  // ---- clients ----
  void read(const Request& request);
  void finish_read(Reading reading);
  void finish_confirmed();
  void write(const Request& request);
  void answer(const Request& request, ReplyStatus status, std::uint64_t result);

  World& world_;
  const NodeId id_;
  const paxos::Membership bootstrap_;

  // ---- survives a crash ----
  ModelLog log_;
  Tables durable_tables_;
  paxos::Ballot prepared_;  // highest ballot it sent a Prepare for since its log was lost
  paxos::Ballot logged_;    // highest ballot promised in the log
  bool destroyed_ = false;
  bool retired_ = false;

  // ---- of one life ----
  std::uint64_t life_ = 0;
  std::unique_ptr<paxos::Replica> core_;
  DriftClock clock_;
  Tables tables_;
  bool paused_ = false;
  std::uint64_t pauses_ = 0;
  std::vector<Schedule::Action> deferred_;
  std::optional<unsigned> fuse_;
  bool crash_in_write_ = false;
  std::uint64_t tick_number_ = 0;
  std::optional<Duration> tick_at_;
  std::deque<ToApply> to_apply_;
  bool applying_ = false;
  bool log_busy_ = false;  // being written, or written and not yet told to the core
  bool pulling_ = false;
  bool flushing_ = false;
  paxos::Ballot led_;      // Elected was given out, Deposed was not
  paxos::Ballot serving_;  // and what was chosen before is applied
  std::uint64_t last_token_ = 0;
  std::map<std::uint64_t, Proposal> proposals_;
  std::vector<Reading> confirming_;
  paxos::Ballot prepared_before_;
  Slot emitted_;  // newest slot given out as chosen
  Slot last_chosen_;
  paxos::Ballot last_promised_;
};

}  // namespace cairn::paxos_sim
