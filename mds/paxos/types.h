// What the consensus core speaks: ballots, values, members, messages, log records, effects. Plain
// values without behaviour. Rules: docs/protocols/paxos.md.
//
// Source: L. Lamport, "Paxos Made Simple" (2001); names of phases and messages follow it.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/base/time.h"

namespace cairn::mds::paxos {

// Orders would-be leaders. {0, 0} is below every real one. A ballot belongs to `node` alone.
struct Ballot {
  std::uint64_t round = 0;
  NodeId node;
  friend constexpr auto operator<=>(const Ballot&, const Ballot&) = default;
  constexpr bool valid() const { return round != 0; }
};

// Numbers are stored and sent: never reused.
enum class ValueKind : std::uint8_t {
  kNoop = 1,        // fills a gap; nothing is applied
  kCommand = 2,     // opaque to the core
  kMembership = 3,  // encode_membership(): the members from the next slot on
};

// Shared, never changed: the same bytes are in the window, in the log batch and in messages.
using Blob = std::shared_ptr<const std::string>;

struct Value {
  ValueKind kind = ValueKind::kNoop;
  Blob bytes;  // never null; empty for a noop
};
bool same_value(const Value& a, const Value& b);

enum class Role : std::uint8_t { kLearner = 1, kVoter = 2 };

struct Member {
  NodeId id;
  Role role = Role::kLearner;
  std::string address;          // of the gRPC door, "HOST:PORT"
  std::uint64_t repo_uuid = 0;  // of the repository the id was given to
  friend bool operator==(const Member&, const Member&) = default;
};

// Ascending by id, ids unique. `version` counts changes; 0: not from the log (bootstrap).
struct Membership {
  std::uint64_t version = 0;
  std::vector<Member> members;
  std::uint32_t next_id = 1;  // ids are never given twice
  friend bool operator==(const Membership&, const Membership&) = default;
};

// What one slot was accepted with.
struct Accepted {
  Slot slot;
  Ballot ballot;
  Value value;
};

// ---- messages, named as in the protocol page ----

// Would you promise? Changes nothing at the receiver.
struct PreVote {
  Ballot ballot;   // the one that would be used
  Slot chosen;     // all slots up to this are chosen at the asker
  Ballot yielded;  // the leader of this ballot gave up its lease; none: invalid
};
struct PreVoteReply {
  Ballot ballot;  // of the question
  bool granted = false;
  Ballot promised;
  Slot chosen;
};
// Phase 1a and 1b.
struct Prepare {
  Ballot ballot;
  Slot chosen;  // of the candidate: what was accepted past it is asked for
  Ballot yielded;
};
struct Promise {
  Ballot ballot;
  Slot chosen;                     // of Prepare.chosen, what is known as chosen here too
  std::vector<Accepted> accepted;  // slots > Prepare.chosen
};
// Phase 2a: consecutive slots from `first`. Also tells what is chosen.
struct Accept {
  Ballot ballot;
  Slot first;
  std::vector<Value> values;
  Slot chosen;
};
// Phase 2b: `first..last` are durable here at this ballot.
struct AcceptedReply {
  Ballot ballot;
  Slot first;
  Slot last;
  Slot chosen;
};
// To Prepare, Accept or Heartbeat: a higher ballot was promised, or the candidate lacks chosen
// slots, or a leader is alive.
struct Refuse {
  Ballot ballot;    // of the refused message
  Ballot promised;  // may equal `ballot`: then the reason is `chosen` or a live leader
  Slot chosen;
};
// Leader to all members; its answers carry the lease.
struct Heartbeat {
  Ballot ballot;
  std::uint64_t round = 0;
  Slot chosen;
};
struct HeartbeatReply {
  Ballot ballot;
  std::uint64_t round = 0;
  Slot chosen;
  // All slots of chosen+1..accepted are durable at `ballot`.
  Slot accepted;
};
// Chosen slots from `from` on are missing here.
struct Fetch {
  Slot from;
};
// Chosen values: consecutive slots from `first`.
struct Learn {
  Slot first;
  std::vector<Value> values;
  Slot chosen;  // of the sender
};
// The answer to Fetch when the log does not reach back: fetch a snapshot from me.
struct SnapshotNeeded {
  Slot applied;
};
// Leader to one voter: my lease is over, campaign now.
struct Yield {
  Ballot ballot;
};
// From a member that lost its acceptor state; and the leader's answer when a membership value that
// it proposed after the question was chosen.
struct Recover {
  std::uint64_t nonce = 0;
};
struct RecoverReply {
  std::uint64_t nonce = 0;
  Ballot ballot;
  Slot upto;  // of that value: what was promised before does not count behind it
};

using Message =
    std::variant<PreVote, PreVoteReply, Prepare, Promise, Accept, AcceptedReply, Refuse, Heartbeat,
                 HeartbeatReply, Fetch, Learn, SnapshotNeeded, Yield, Recover, RecoverReply>;

// ---- what goes into the log store, in order ----

struct PromiseRecord {
  Ballot ballot;
};
struct AcceptRecord {
  Ballot ballot;
  Slot slot;
  Value value;
};
// The value of a slot, learned as chosen from another member. Wins over every AcceptRecord.
struct LearnRecord {
  Slot slot;
  Value value;
};
// Every slot up to this is chosen, and the newest record of each (above what was truncated) is its
// chosen value. Needs no flush of its own.
struct ChosenRecord {
  Slot slot;
};
// The acceptor state was lost (`active`); no vote is given until chosen reaches `until`. until 0:
// not known yet. !active: over.
struct RecoveryRecord {
  bool active = false;
  Slot until;
};
using Record = std::variant<PromiseRecord, AcceptRecord, LearnRecord, ChosenRecord, RecoveryRecord>;

// ---- what the core asks of its driver ----

struct Outgoing {
  NodeId to;
  Message message;
};

// To be applied, in this order; slots are consecutive over the life of a Replica.
struct Chosen {
  Slot slot;
  Value value;
  std::uint64_t token = 0;  // of the propose() of this reign that it answers, else 0
};

// The driver reads chosen slots from the log store and sends them to `to` as Learn (or
// SnapshotNeeded).
struct SendChosen {
  NodeId to;
  Slot from;
};

struct Elected {  // phase 1 is over, everything before is chosen (and in Effects::chosen): serve
  Ballot ballot;
};
struct Deposed {  // serve nothing any more; every proposal without an answer has an unknown outcome
  Ballot ballot;
};
struct LeaderChanged {  // whom this member follows; none: nobody is known
  NodeId leader;
};
struct MembershipChanged {  // a membership entry was chosen (and is in Effects::chosen)
  Membership membership;
};
struct NeedSnapshot {  // this member cannot catch up by log: install a snapshot, then installed()
  NodeId from;
  Slot applied;  // at `from`
};
using Notice = std::variant<Elected, Deposed, LeaderChanged, MembershipChanged, NeedSnapshot>;

struct Effects {
  // To be appended to the log store in this order; then persisted(last_record).
  std::vector<Record> records;
  std::uint64_t last_record = 0;
  std::vector<Outgoing> messages;  // to be sent now, loss is allowed
  std::vector<Chosen> chosen;      // to be applied before the notices are looked at
  std::vector<Notice> notices;
  std::vector<SendChosen> send_chosen;
};

}  // namespace cairn::mds::paxos
