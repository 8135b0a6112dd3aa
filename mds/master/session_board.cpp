#include "mds/master/session_board.h"

#include <algorithm>

namespace cairn::mds::master {

std::shared_ptr<net::Channel> Session::channel() const {
  const std::shared_ptr<Connection> at = connection.lock();
  if (at == nullptr || at->channel == nullptr || !at->channel->is_open()) return nullptr;
  return at->channel;
}

Session* SessionBoard::find(SessionId id) {
  const auto at = sessions_.find(id);
  return at == sessions_.end() ? nullptr : &at->second;
}

Session& SessionBoard::put(pb::SessionRecord record, bool expected, Instant now) {
  Session& session = sessions_[SessionId::from_raw(record.id())];
  session.record = std::move(record);
  session.expected = expected;
  session.last_heard = now;
  return session;
}

void SessionBoard::attach(Session& session, const std::shared_ptr<Connection>& connection,
                          Instant now) {
  // Nothing is taken from the older channel any more; its peer may never close it.
  const std::shared_ptr<Connection> older = session.connection.lock();
  if (older != nullptr && older != connection && older->channel != nullptr) older->channel->close();
  connection->session = SessionId::from_raw(session.record.id());
  session.connection = connection;
  session.last_heard = now;
}

void SessionBoard::keep_alive(Session& session, const pb::KeepAlive& report, Instant now) {
  session.rates.add(now, {report.bytes_read(), report.bytes_written(), report.reads(),
                          report.writes(), report.fsyncs()});
  session.waiting_writes = report.waiting_writes();
}

std::vector<SessionId> SessionBoard::expired(Instant now, Duration lease) const {
  std::vector<SessionId> expired;
  for (const auto& [id, session] : sessions_) {
    const Duration own = lease_of(session.record.request(), lease);
    if (!session.ending && now - session.last_heard > own) expired.push_back(id);
  }
  return expired;
}

void SessionBoard::forgive(Duration gap) {
  for (auto& [id, session] : sessions_) session.last_heard = session.last_heard + gap;
}

bool SessionBoard::any_expected() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& at) { return at.second.expected; });
}

void Pins::remove(InodeId inode, SessionId session) {
  const auto at = pins_.find(inode);
  if (at == pins_.end()) return;
  at->second.erase(session);
  if (at->second.empty()) pins_.erase(at);
}

void Pins::drop_session(SessionId session) {
  for (auto at = pins_.begin(); at != pins_.end();) {
    at->second.erase(session);
    at = at->second.empty() ? pins_.erase(at) : std::next(at);
  }
}

}  // namespace cairn::mds::master
