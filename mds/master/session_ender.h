// SessionEnder: ends sessions: fences them, recovers what they left, then forgets them.
// docs/protocols/namespace.md, "Sessions".
//
// Promises: from begin() on nothing more is taken from the session; nothing it holds is given away
//           before the log
//           says that it ends, so that no later master takes it up again; an inode it held
//           exclusively
//           is given to somebody else only after its open chunks are recovered; inodes do not wait
//           for each other.
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

  // Idempotent. `hang_up`: its channel is closed, so that the client learns it soon. For a session
  // whose client uses no lease any more: it closed it, its process is gone, or it was silent for
  // the lease time.
  void begin(SessionId session, std::string reason, bool hang_up);
  // For one whose client was heard and may go on reading from its caches: nothing it holds is given
  // away before the client is known to have noticed, or was silent for the lease time.
  void revoke(SessionId session, std::string reason);
  // One that a master before began to end.
  void go_on(SessionId session);
  // This process asks for a new session: it uses nothing of the old ones.
  void noticed(const std::string& process, std::uint64_t host_id);
  // Nobody waits for the notice of a client, or for the end of a session, any more.
  void stop();
  // Resumes when it is gone, or at the deadline.
  Task<void> wait(SessionId session, Deadline deadline);

 private:
  Session* mark(SessionId session);
  void forget(SessionId session);
  static Task<void> begin_and_end(SessionEnder* self, SessionId session, std::string reason);
  // Until the log says that the session ends. False: the master stops.
  Task<bool> announce(SessionId session);
  static Task<void> end_when_noticed(SessionEnder* self, SessionId session, std::string reason);
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
  std::map<SessionId, runtime::Completion<bool>> unnoticed_;
};

}  // namespace cairn::mds::master
