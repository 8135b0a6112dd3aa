// LeaseBoard: carries out what LeaseCore decides: grants through the log, recalls down the
// sessions' channels, waiting requests.
//
// Promises: a recall is repeated until it is answered; a holder that does not answer within the
//           lease time loses its session. An exclusive lease is granted only when no chunk of the
//           inode is open.
// Requires: the loop thread; stop() before the task group of the environment is joined.
// Errors:   kTimeout (three lease times in line), kCancelled, kSessionGone, and those of
//           GrantLease.
#pragma once

#include <functional>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/runtime/completion.h"
#include "mds/master/environment.h"
#include "mds/master/lease_core.h"
#include "mds/master/recovery.h"
#include "mds/master/session_board.h"

namespace cairn::mds::master {

class LeaseBoard {
 public:
  using OnUnanswered = std::function<void(SessionId session, InodeId inode)>;
  LeaseBoard(Environment env, SessionBoard& sessions, Recovery& recovery,
             OnUnanswered on_unanswered)
      : env_(env),
        sessions_(sessions),
        recovery_(recovery),
        on_unanswered_(std::move(on_unanswered)) {}

  // Returns when the session has what it wants (for kLook: when nobody else holds it exclusively).
  Task<Status> acquire(InodeId inode, SessionId session, Want want);
  void release_shared(InodeId inode, SessionId session);
  // Around a log operation that gives the exclusive lease of `session` back.
  void begin_release(InodeId inode);
  void finish_release(InodeId inode, SessionId session, pb::LeaseMode keep);
  void reclaim_shared(InodeId inode, SessionId session);
  // Shared leases and waiting requests of the session go. Exclusive ones stay until refresh().
  void drop_session(SessionId session);
  // The session is gone from the tables: whoever waits for what it held goes on.
  void session_gone(SessionId session);
  // The process was stopped for `gap`: no holder could answer.
  void forgive(Duration gap);
  // The log changed the exclusive holder.
  void refresh(InodeId inode);
  // While withheld, nothing is granted exclusively (shared holders may be unknown after a restart).
  void withhold_exclusive(bool withheld);
  // A session connected anew: sends its recalls again.
  void connected(SessionId session);
  void stop();

  const LeaseCore& core() const { return core_; }

 private:
  struct Recall {
    Instant since;
    runtime::Completion<bool> wake;
  };
  SessionId table_holder(InodeId inode) const;
  bool is_alive(SessionId session) const;
  void carry_out(LeaseEffects effects);
  void serve(Ticket ticket, Status status);
  void recall(const RecallEffect& effect);
  void wake_recall(InodeId inode, SessionId session);
  static Task<void> tell_lost(LeaseBoard* self, InodeId inode, SessionId session);
  static Task<void> recall_loop(LeaseBoard* self, InodeId inode, SessionId session);
  Task<bool> recall_once(InodeId inode, SessionId session, pb::LeaseMode keep);
  static Task<void> grant(LeaseBoard* self, LeaseRequest request);
  Task<Status> grant_through_log(LeaseRequest request);

  Environment env_;
  SessionBoard& sessions_;
  Recovery& recovery_;
  const OnUnanswered on_unanswered_;
  LeaseCore core_;
  Ticket last_ticket_ = 0;
  std::unordered_map<Ticket, runtime::Completion<Status>> waiting_;
  std::map<std::pair<SessionId, InodeId>, Recall> recalls_;
};

}  // namespace cairn::mds::master
