// Replica::State: all a member knows, and its rules, one file a part of the protocol page. Internal
// to the core: see replica.h.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>

#include "common/base/prng.h"
#include "mds/paxos/outbox.h"
#include "mds/paxos/replica.h"

namespace cairn::mds::paxos {

enum class Phase : std::uint8_t { kFollower, kPreVote, kCandidate, kLeading };

struct Replica::State {
  State(Options given, Durable durable, Instant start);

  // ---- acceptor.cpp: A1 to A6 ----
  struct Slotted {
    Ballot ballot;
    Value value;
    RecordNumber record = 0;  // of this value in the log; 0: was there at start-up
    bool sure = false;        // it is chosen: learned, or accepted at the ballot that told so
  };
  void on(NodeId from, const PreVote& message);
  void on(NodeId from, const Prepare& message);
  void on(NodeId from, const Accept& message);
  void on(NodeId from, const Heartbeat& message);
  // nullptr: nothing stands against helping `from`; else why not.
  const char* objection(NodeId from, Ballot ballot, Slot their_chosen, Ballot yielded) const;
  bool held(NodeId from, Ballot yielded) const;
  void refuse(NodeId from, Ballot ballot);
  // `from` leads at `ballot`: hold, and be its follower.
  void follow(NodeId from, Ballot ballot);
  // False: this ballot has another value there already (its leader is broken).
  bool accept(Ballot theirs, Slot slot, const Value& value);
  void keep(Slot slot, Slotted what);
  void forget(Slot slot);
  void record_promise();
  // All slots of chosen+1..this are durable here at `ballot`.
  Slot durable_prefix(Ballot ballot) const;

  // ---- election.cpp ----
  void on(NodeId from, const PreVoteReply& message);
  void on(NodeId from, const Promise& message);
  void on(NodeId from, const Refuse& message);
  void on(NodeId from, const Yield& message);
  void begin_pre_vote();
  void begin_campaign(Ballot yielded_ballot);
  Ballot next_ballot() const;
  // Who has not promised yet.
  void send_prepares();
  // Phase 1 is over for the next slot: a majority of the members in force promised, knowing that
  // they are in force.
  bool complete() const;
  void merge(const std::vector<Accepted>& reported);
  void count_promises();
  void begin_leading();
  // Back to following; an elected leader is deposed.
  void step_down();
  void schedule_campaign(Duration at_least);

  // ---- leading.cpp: phase 2, lease ----
  struct Peer {
    Slot chosen;
    Slot matched;  // everything up to this is chosen or durable there at this ballot
    std::uint64_t round = 0;
    Instant last_heard;
    Instant last_accept;
    Instant last_progress;  // or was sent something again
  };
  struct Pending {
    std::uint64_t token = 0;
    Value value;
  };
  struct Written {
    RecordNumber record = 0;
    Slot last;
    Instant since;
  };
  void on(NodeId from, const AcceptedReply& message);
  void on(NodeId from, const HeartbeatReply& message);
  void on(NodeId from, const Recover& message);
  void fill();
  bool may_propose();
  void propose_members(std::uint64_t token, const Membership& next);
  bool next_value(Pending* next);
  void propose_batch();
  void send_accept(NodeId to, Slot first, Slot last);
  void resend_to(NodeId id, Peer& peer);
  void heard(Peer& peer, Slot their_chosen, Slot their_accepted);
  void advance();
  void settle_election();
  void begin_round();
  void count_rounds();
  // The others have on disk what this member is still writing, for long.
  bool is_late() const;
  void membership_changed(const Membership& before);
  // A majority knows the newest members: now those that are none any more may hear of it.
  void part();
  // A membership value of its own for those that asked since the last one; and the answers.
  void mark_recoveries();
  void answer_recoveries();
  bool change_waits() const;
  void add_peers();
  // The value that at least a majority of voters has of `of`, itself having `own`.
  template <class T, class Of>
  T agreed(T own, Of of) const;
  // A majority of the voters has said that it knows everything up to this as chosen.
  Slot known_by_majority() const;

  // ---- learning.cpp ----
  void on(NodeId from, const Fetch& message);
  void on(NodeId from, const Learn& message);
  void on(NodeId from, const SnapshotNeeded& message);
  void on(NodeId from, const RecoverReply& message);
  void choose(Slot slot, Value value, std::uint64_t token);
  // The leader of `ballot` knows all up to `slot` as chosen.
  void told_chosen(Slot slot, Ballot ballot);
  void extend_sure();
  // A slot is chosen here only when its record is durable: the log has all that the tables have.
  void choose_durable();
  void heard_of_end(NodeId from, Slot their_chosen);
  bool noted_as_chosen(Slot change);
  void want(Slot slot, NodeId from);
  void fetch();
  // No vote and no leader: somebody may know what became of the group.
  void ask_around();
  void ask_recovery();
  void end_recovery_if_done();
  void set_leader(NodeId id);

  // ---- replica.cpp ----
  void tick();
  Instant next_tick() const;
  bool is_voter(NodeId id) const;
  bool votes_after(const Value& change, NodeId id) const;
  bool is_sole_voter() const;
  // And it cannot have been otherwise since its last record: nobody else can lead.
  bool is_alone() const;
  bool counts(NodeId id) const;  // as a voter
  void notice(Notice what) { out.effects().notices.push_back(std::move(what)); }
  void check() const;
  std::string dump() const;

  const Options options;
  const Timing timing;
  Prng prng;
  Outbox out;
  Instant now;
  std::uint64_t dropped = 0;

  // Acceptor. `window` has slots > chosen only; ballots in it are <= promised.
  Ballot promised;
  Ballot recorded;                  // the highest promise in the log
  RecordNumber promise_record = 0;  // of it
  std::map<Slot, Slotted> window;
  std::size_t kept_bytes = 0;  // of the values in it
  Instant first_hold;          // the hold of the life before this one: for an unknown ballot
  Instant hold_until;
  Ballot hold_ballot;

  // Learner.
  Slot chosen;
  Slot sure;  // >= chosen; up to it only durability is waited for
  Slot told;  // what the leader of `told_ballot` said last
  Ballot told_ballot;
  Slot marked;  // the newest ChosenRecord
  Slot noted;   // a membership value that is chosen, by this record
  RecordNumber noted_record = 0;
  Membership membership;
  NodeId leader;
  Slot wanted;  // known to be chosen somewhere
  NodeId wanted_from;
  NodeId hint;  // who said last that it knows more
  Instant fetch_at;
  bool recovering = false;
  Slot recover_until;  // 0: not known
  RecordNumber recovery_over = 0;
  std::uint64_t nonce = 0;
  Instant recover_at;

  // Candidate and leader.
  Phase phase = Phase::kFollower;
  Ballot ballot;  // of the campaign or reign
  Ballot yielded;
  std::uint64_t highest_round = 0;  // seen anywhere
  Instant campaign_at;              // when to begin one, or to give the present one up
  Instant prepare_at;
  std::set<NodeId> pre_votes;
  // Who promised, and what it knew as chosen then. Since the membership value in slot
  // `members_since` was chosen (0: since before the campaign) only those count that knew it.
  std::map<NodeId, Slot> promises;
  Slot members_since;
  bool own_promise = false;
  std::map<Slot, Accepted> tail;  // reported by promises, not yet proposed
  bool elected = false;

  std::map<NodeId, Peer> peers;
  Slot proposed;  // the last slot proposed at `ballot`
  Slot barrier;   // a membership value that is not chosen yet; 0: none
  std::deque<Written> writing;
  Slot own_matched;
  std::deque<Pending> queue;
  std::size_t queue_bytes = 0;
  std::map<Slot, std::uint64_t> tokens;
  std::size_t window_bytes = 0;
  bool changing = false;  // a membership value is in queue or window
  // It left and stepped down before the others knew: the driver, which will stop it, hears of that
  // when a majority of them says that it knows. 0: nothing is unsaid.
  Slot unsaid;
  std::set<NodeId> know;
  bool leaving = false;      // it votes no more, and leads until the others know
  std::set<NodeId> parting;  // were removed, and have not been told

  std::uint64_t round = 0;
  bool round_asked = false;  // by confirm(): with the next effects
  std::uint64_t confirmed = 0;
  std::map<std::uint64_t, Instant> rounds;  // sent and not yet confirmed
  Instant heartbeat_at;
  Instant lease_until;
  Instant led_since;  // with the present members
  struct Recovering {
    std::uint64_t nonce = 0;
    std::uint64_t version = 0;  // of the membership value proposed for it; 0: none yet
    Slot upto;                  // where that was chosen
  };
  std::map<NodeId, Recovering> recoveries;
};

}  // namespace cairn::mds::paxos
