// SessionEnder: ends sessions: fences them, recovers what they left, then forgets them.
// docs/protocols/namespace.md, "Sessions".
//
// Promises: from begin() on nothing more is taken from the session; an inode it held exclusively is
// given to
//           somebody else only after its open chunks are recovered; inodes do not wait for each
//           other.
// Requires: the loop thread; the task group of the environment is joined before it dies.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/runtime/completion.h"
#include "mds/master/environment.h"
#include "mds/master/lease_board.h"
#include "mds/master/recovery.h"
#include "mds/master/session_board.h"

namespace cairn::mds::master {

class SessionEnder {
 public:
  // `on_ended` runs when the session is gone from the tables.
  SessionEnder(Environment env, SessionBoard& sessions, Pins& pins, LeaseBoard& leases,
               Recovery& recovery, std::function<void(const Session&, std::string reason)> on_ended)
      : env_(env),
        sessions_(sessions),
        pins_(pins),
        leases_(leases),
        recovery_(recovery),
        on_ended_(std::move(on_ended)) {}

  // Idempotent. `hang_up`: its channel is closed, so that the client learns it soon.
  void begin(SessionId session, std::string reason, bool hang_up);
  // Resumes when it is gone, or at the deadline.
  Task<void> wait(SessionId session, Deadline deadline);

 private:
  static Task<void> end(SessionEnder* self, SessionId session, std::string reason);
  Task<Status> end_once(SessionId session, std::string reason);
  static Task<void> give_back(SessionEnder* self, SessionId session, InodeId inode);

  Environment env_;
  SessionBoard& sessions_;
  Pins& pins_;
  LeaseBoard& leases_;
  Recovery& recovery_;
  const std::function<void(const Session&, std::string)> on_ended_;
  std::map<SessionId, std::vector<runtime::Completion<bool>>> waiting_;
};

}  // namespace cairn::mds::master
