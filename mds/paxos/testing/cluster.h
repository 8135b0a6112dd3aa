// Cluster: replicas in memory whose messages and disks a test moves by hand. Time stands
// still until it is moved.
//
// Owns:     the replicas, what their disks hold, the letters between them.
// Promises: a slot that any replica calls chosen has one value, chosen slots come in order (else
//           the test fails). After each input the invariants of the replica are checked.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mds/paxos/replica.h"

namespace cairn::mds::paxos::testing {

NodeId id_of(std::uint32_t number);
Value command(const std::string& text);
Value change_to(const Membership& next);
std::string text_of(const Value& value);
// Ids 1..voters vote, the next `learners` do not.
Membership members(std::uint32_t voters, std::uint32_t learners = 0);
// The same with one change, as the next version.
Membership with_role(Membership membership, std::uint32_t number, Role role);
Membership without(Membership membership, std::uint32_t number);

// For a test of one replica alone.
Options options_of(std::uint32_t number, Limits limits = {}, std::uint64_t seed = 1);
// Tables and log end at the same slot.
Durable durable_of(Membership membership, Slot applied = Slot(), Ballot promised = {});

// What a log says of its records, newest last.
struct Disk {
  Ballot promised;
  Slot chosen;
  std::map<Slot, Accepted> slots;
  bool recovering = false;
  Slot recover_until;
  void write(const Record& record);
};

struct Letter {
  NodeId from;
  NodeId to;
  Message message;
};

class Cluster {
 public:
  // All are started, with an empty log.
  explicit Cluster(Membership founders, Timing given = {}, std::uint64_t seed = 1);

  // ---- lives ----
  void start(std::uint32_t number, Membership known);
  // What was not persisted is lost.
  void crash(std::uint32_t number);
  void restart(std::uint32_t number);
  // The log is gone, the tables stay.
  void lose_log(std::uint32_t number);

  // ---- by hand ----
  // Takes the effects; records wait for persist(), messages for deliver().
  void collect(std::uint32_t number);
  void persist(std::uint32_t number);
  void deliver(const Letter& letter);
  // Everything is persisted (but where the disk is stopped) and delivered, until nothing moves.
  void settle();
  // settle(), and every tick that falls due, for so long.
  void run(Duration length);
  // run() until `done`; false: not within a minute.
  bool run_until(const std::function<bool()>& done);

  // ---- what stands in the way ----
  // Called for each letter: true keeps it back.
  std::function<bool(const Letter&)> keep_back;
  std::deque<Letter> kept;  // in the order of sending
  std::map<std::uint32_t, bool> disk_stopped;
  void cut_off(std::uint32_t number, bool off = true) { cut_[number] = off; }
  // The kept ones arrive.
  void release();

  // ---- what is seen ----
  Replica& operator[](std::uint32_t number) { return *nodes_.at(number).core; }
  bool runs(std::uint32_t number) const { return nodes_.at(number).core != nullptr; }
  const Disk& disk(std::uint32_t number) const { return nodes_.at(number).disk; }
  Membership tables_membership(std::uint32_t number) const {
    return nodes_.at(number).tables_membership;
  }
  const std::vector<Record>& unwritten(std::uint32_t number) const {
    return nodes_.at(number).unwritten;
  }
  const std::vector<Chosen>& chosen(std::uint32_t number) const {
    return nodes_.at(number).chosen;  // of this life
  }
  std::vector<std::string> commands(std::uint32_t number) const;  // of this life, in order
  template <class T>
  std::size_t count_notices(std::uint32_t number) const {
    std::size_t count = 0;
    for (const Notice& notice : nodes_.at(number).notices) {
      if (std::holds_alternative<T>(notice)) ++count;
    }
    return count;
  }
  // The one that leads; 0: nobody, or more than one.
  std::uint32_t leader() const;
  // Runs until somebody leads and may serve.
  std::uint32_t elect();
  // Proposes at the leader and settles.
  void propose(const std::string& text);
  // All that were sent, of one kind, to be looked at.
  template <class T>
  std::vector<Letter> sent() const {
    std::vector<Letter> found;
    for (const Letter& letter : sent_) {
      if (std::holds_alternative<T>(letter.message)) found.push_back(letter);
    }
    return found;
  }
  void forget_sent() { sent_.clear(); }
  const std::map<Slot, Value>& truth() const { return truth_; }

  Instant now = Instant::from_nanos(1'000'000'000);
  const Timing timing;
  Limits limits;  // of lives that begin from now on

 private:
  struct Node {
    std::unique_ptr<Replica> core;
    Disk disk;
    std::vector<Record> unwritten;
    std::uint64_t last_record = 0;
    // The tables are durable at once: the worst that a crash can leave behind.
    Slot applied;
    Membership tables_membership;
    std::vector<Chosen> chosen;
    std::vector<Notice> notices;
  };

  void begin(std::uint32_t number);
  void answer_fetch(std::uint32_t number, const SendChosen& what);
  bool move_one();

  std::map<std::uint32_t, Node> nodes_;
  std::deque<Letter> wire_;
  std::vector<Letter> sent_;
  std::map<std::uint32_t, bool> cut_;
  std::map<Slot, Value> truth_;
  std::uint64_t seed_;
  std::uint64_t last_token_ = 0;
};

}  // namespace cairn::mds::paxos::testing
