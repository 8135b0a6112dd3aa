// LeaseCore: who may hold which inode, as a value: inputs in, effects out. Pure: no log, no
// channel, no clock; LeaseBoard carries the effects out.
//
// Owns:     shared holders and waiters of each inode; pins. The exclusive holder is a fact of the
//           tables: whoever calls passes it (`table_holder`) when an entry is made or the log
//           changed it.
// Promises: never two conflicting holders; waiters of an inode are served first come, first served;
//           a waiter whose turn cannot come yet has every conflicting holder recalled; no waiter is
//           lost.
// Limits:   an entry lives only while it has shared holders, waiters or a log operation under way.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"
#include "proto/mds_client.pb.h"

namespace cairn::mds::master {

using Ticket = std::uint64_t;

// kLook: nobody else holds it exclusively at one moment (get_attr of another session); grants
// nothing.
enum class Want : std::uint8_t { kLook, kShared, kExclusive };

struct LeaseRequest {
  Ticket ticket = 0;  // unique
  InodeId inode;
  SessionId session;
  Want want = Want::kLook;
};

struct RecallEffect {
  InodeId inode;
  SessionId session;
  pb::LeaseMode keep = pb::LEASE_NONE;
  friend bool operator==(const RecallEffect&, const RecallEffect&) = default;
};

struct LeaseEffects {
  std::vector<RecallEffect> recalls;  // ask these holders to give back
  std::vector<Ticket> served;         // looks and shared grants that are done, and exclusive ones
                                      // of a session that held it already
  std::vector<LeaseRequest> to_log;   // grant through the log, then finish_grant()
  void append(LeaseEffects other);
};

class LeaseCore {
 public:
  // True when the inode has an entry; else `table_holder` of the next call makes one.
  bool known(InodeId inode) const { return inodes_.contains(inode); }

  [[nodiscard]] LeaseEffects request(LeaseRequest request, SessionId table_holder);
  // The waiter does not want it any more (deadline, session gone). Harmless when it was served.
  [[nodiscard]] LeaseEffects cancel(Ticket ticket);
  // The log answered a `to_log` effect; `table_holder` is the holder now.
  [[nodiscard]] LeaseEffects finish_grant(LeaseRequest request, SessionId table_holder);

  [[nodiscard]] LeaseEffects release_shared(InodeId inode, SessionId session);
  // Around the log operation that gives an exclusive lease back: between the two nobody is served.
  void begin_release(InodeId inode, SessionId table_holder);
  [[nodiscard]] LeaseEffects finish_release(InodeId inode, SessionId session, pb::LeaseMode keep,
                                            SessionId table_holder);
  // After a restart of the master a session tells what it held. False when it conflicts.
  bool reclaim_shared(InodeId inode, SessionId session, SessionId table_holder);
  // Its shared leases go; its waiters are returned in `dropped`. Exclusive ones: see refresh().
  [[nodiscard]] LeaseEffects end_session(SessionId session, std::vector<Ticket>* dropped);
  // The log changed the exclusive holder in another way (session ended, inode purged).
  [[nodiscard]] LeaseEffects refresh(InodeId inode, SessionId table_holder);

  // While withheld, nothing new is granted exclusively: shared holders may be unknown yet.
  [[nodiscard]] LeaseEffects withhold_exclusive(bool withheld);

  // Does the recall still stand?
  bool is_recalled(InodeId inode, SessionId session, pb::LeaseMode* keep) const;
  // Inodes with an entry that this session holds exclusively.
  std::vector<InodeId> exclusive_of(SessionId session) const;
  std::uint64_t shared_count(SessionId session) const;
  std::vector<SessionId> shared_holders(InodeId inode) const;
  std::size_t waiting(InodeId inode) const;
  std::size_t entries() const { return inodes_.size(); }

 private:
  struct Entry {
    SessionId exclusive;
    std::set<SessionId> shared;
    std::deque<LeaseRequest> queue;
    std::map<SessionId, pb::LeaseMode> recalled;
    bool granting = false;
    unsigned releasing = 0;
  };
  Entry& entry(InodeId inode, SessionId table_holder);
  void serve(InodeId inode, LeaseEffects* effects);
  bool serve_first(InodeId inode, Entry& entry, LeaseEffects* effects);
  bool recall_conflicts(InodeId inode, Entry& entry, const LeaseRequest& first,
                        LeaseEffects* effects);
  void drop_shared(InodeId inode, Entry& entry, SessionId session);
  void add_shared(InodeId inode, Entry& entry, SessionId session);

  std::unordered_map<InodeId, Entry, StrongHash> inodes_;
  std::unordered_map<Ticket, InodeId> waiting_;
  std::unordered_map<SessionId, std::set<InodeId>, StrongHash> shared_of_;
  bool withheld_ = false;
};

}  // namespace cairn::mds::master
