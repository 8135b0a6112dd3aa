// SessionBoard: the master's memory of sessions: who is connected, when each was heard last, what
// it reported. The table of sessions is replicated state; this is not. Time enters as an argument.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/time.h"
#include "common/net/channel.h"
#include "mds/master/rate_window.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::master {

// One framed channel of a client. Shared by the task that owns it and the requests it serves.
struct Connection {
  std::shared_ptr<net::Channel> channel;  // empty until the handshake is over
  SessionId session;                      // opened or resumed on this channel
};

struct Session {
  // Indexes of `rates`.
  enum Rate : std::size_t { kBytesRead, kBytesWritten, kReads, kWrites, kFsyncs, kRates };

  pb::SessionRecord record;
  Instant last_heard;
  bool expected = false;  // known from the table only: it has not reclaimed what it held
  bool ending = false;    // nothing more is taken from it
  std::weak_ptr<Connection> connection;
  RateWindow<kRates> rates;
  std::uint64_t waiting_writes = 0;

  // nullptr when it is not connected.
  std::shared_ptr<net::Channel> channel() const;
};

// A converter has nobody's data but copies, and asks every second: one that is silent goes soon, so
// that neither its file nor the grace of a new master waits for it.
inline constexpr Duration kConverterLease = 10s;
inline Duration lease_of(const pb::OpenSession& request, Duration lease) {
  return request.converter() != 0 ? std::min<Duration>(lease, kConverterLease) : lease;
}

class SessionBoard {
 public:
  Session* find(SessionId id);
  const std::map<SessionId, Session>& all() const { return sessions_; }
  Session& put(pb::SessionRecord record, bool expected, Instant now);
  void erase(SessionId id) { sessions_.erase(id); }

  void attach(Session& session, const std::shared_ptr<Connection>& connection, Instant now);
  void keep_alive(Session& session, const pb::KeepAlive& report, Instant now);
  // Sessions not heard of for their lease_of(), not ending yet.
  std::vector<SessionId> expired(Instant now, Duration lease) const;
  // The process was stopped for `gap`: nobody could be heard.
  void forgive(Duration gap);
  // True while a session of the table has not said what it held.
  bool any_expected() const;

 private:
  std::map<SessionId, Session> sessions_;
};

// Who has an inode open: an unlinked inode with a pin is not purged. A session has one pin on an
// inode or none, so
// a request that is repeated after a failover changes nothing.
class Pins {
 public:
  void add(InodeId inode, SessionId session) { pins_[inode].insert(session); }
  void remove(InodeId inode, SessionId session);
  void drop_session(SessionId session);
  bool pinned(InodeId inode) const { return pins_.contains(inode); }

 private:
  std::map<InodeId, std::set<SessionId>> pins_;
};

}  // namespace cairn::mds::master
