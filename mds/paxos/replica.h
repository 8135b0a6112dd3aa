// Replica: one member's consensus core. Multi-Paxos as a sans-IO state machine: inputs and the time
// go in, effects come out; nothing that depends on durability leaves before persisted() said so.
// Rules and proofs: docs/protocols/paxos.md.
//
// Owns:     acceptor, proposer and learner state of this member; in memory only slots not yet
//           chosen.
// Promises: one value per slot, whatever the network, the clocks (within Timing::hold against
//           lease) and crashes do; chosen entries come out in slot order, once. leads() is true of
//           at most one member at any instant of real time while may_serve() is true.
// Requires: one thread. After each input: take() and carry out the effects; tick() no later than
//           next_tick(). Records are made durable in order. `now` never goes back, and counts
//           suspended time.
// Limits:   Limits below; propose() refuses past them.
// Errors:   none: bad messages (of a non-member, with impossible fields) are dropped and counted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mds/paxos/types.h"

namespace cairn::mds::paxos {

struct Timing {
  Duration heartbeat = 100ms;
  // The leader serves reads for this long after the sending of a heartbeat round that a quorum
  // answered.
  Duration lease = 900ms;
  // A member that heard of a leader helps no other one for this long; > lease by more than clocks
  // drift.
  Duration hold = 1000ms;
  // A campaign begins hold + [0, stagger) after the last word of a leader.
  Duration stagger = 300ms;
  // A phase 1 or pre-vote without an answer is repeated, an unfinished campaign begun anew, after
  // this.
  Duration campaign = 300ms;
  // An Accept or Fetch without progress is sent again after this.
  Duration resend = 200ms;
};

struct Limits {
  std::size_t window_slots = 8192;      // proposed and not chosen
  std::size_t window_bytes = 8u << 20;  // of values: a Promise carries them all in one message
  std::size_t batch_slots = 512;        // one Accept
  std::size_t batch_bytes = 4u << 20;
};

// Deliberate faults, for tests of the checkers only.
enum class Sabotage : std::uint8_t {
  kNone,
  kAnswerBeforeDurable,  // acknowledges accepts and promises that are not persisted yet
  kForgetPromise,        // accepts below its promise
  kReuseBallot,          // campaigns with a ballot round it used before a restart
  kSkipPhase1,           // proposes new values without asking what was accepted
  kCountRemovedMember,   // counts answers of members that were removed
  kServeWithoutLease,    // may_serve() says yes while it believes to lead
  kIgnoreHold,           // promises while a leader may hold a lease
  kChooseBeforeDurable,  // gives out chosen slots that its own log does not have yet
};

struct Options {
  NodeId self;
  Timing timing;
  Limits limits;
  std::uint64_t seed = 0;  // staggering
  Sabotage sabotage = Sabotage::kNone;
};

// What log store and tables held at start-up.
struct Durable {
  Ballot promised;
  Slot applied;           // of the tables
  Membership membership;  // as of `applied`; of bootstrap for a new cluster; empty for a new member
  Slot chosen;            // newest ChosenRecord (0: none); may be below `applied`
  std::vector<Accepted>
      accepted;             // newest record of each slot > applied; ballot invalid: a LearnRecord
  bool recovering = false;  // newest RecoveryRecord
  Slot recover_until;
};

struct PeerProgress {
  NodeId id;
  Slot chosen;
  Instant last_heard;   // any answer at this leader's ballot
  Instant last_accept;  // it last acknowledged an Accept, or had nothing to acknowledge
};

class Replica {
 public:
  // Effects may wait at once: the chosen entries past `applied`.
  Replica(Options options, Durable durable, Instant now);
  ~Replica();
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  // False: not the leader, or the window and its queue are full; nothing was done. Else `token`
  // comes back in a Chosen, or a Deposed says that its outcome is unknown. Tokens are not 0.
  bool propose(std::uint64_t token, Value value, Instant now);
  // False also while another change is under way. The change's version must be the present one + 1.
  bool propose_membership(std::uint64_t token, const Membership& next, Instant now);
  void receive(NodeId from, const Message& message, Instant now);
  // Everything up to this record (Effects::last_record) is durable.
  void persisted(std::uint64_t record, Instant now);
  void tick(Instant now);
  // The tables are now a snapshot with everything up to `applied`. Slots at or below it are
  // forgotten.
  void installed(Slot applied, const Membership& membership, Instant now);
  // Leader: hand over to `to`, a voter (none: any that is up to date), and serve nothing from now
  // on. A single voter, or nobody up to date: false, and nothing changes.
  bool yield(NodeId to, Instant now);
  // A heartbeat round begins with the next take() (leader): its answer proves that this member led
  // now. Returns its number; confirmed_round() reaches it, or a Deposed comes.
  std::uint64_t confirm(Instant now);

  Effects take();
  Instant next_tick() const;

  bool leads() const;  // Elected was given out, Deposed was not
  // The lease covers `now`: what the tables say is the newest truth.
  bool may_serve(Instant now) const;
  std::uint64_t confirmed_round() const;
  NodeId leader() const;  // whom it follows or is; none: unknown
  Ballot promised() const;
  Slot chosen() const;
  Slot last_accepted() const;
  const Membership& membership() const;  // as of chosen()
  bool recovering() const;
  std::size_t waiting() const;              // proposals queued and in the window
  std::vector<PeerProgress> peers() const;  // leader only
  std::uint64_t dropped_messages() const;
  // For tests: every law of the state, CHECKed.
  void check_invariants() const;
  // For tests and people: all of the state but times.
  std::string dump() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The bytes of a membership value, and back; nullopt for bytes that are none. Format:
// docs/formats/mds-log.md.
std::string encode_membership(const Membership& membership);
std::optional<Membership> decode_membership(std::string_view bytes);

const Member* find_member(const Membership& membership, NodeId id);
std::size_t voters(const Membership& membership);
std::size_t majority(const Membership& membership);

}  // namespace cairn::mds::paxos
