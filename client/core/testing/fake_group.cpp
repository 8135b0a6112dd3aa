// FakeMaster as one of several MDS: doors, elections, silence; sessions that are told anew.
#include "client/core/session.h"
#include "client/core/testing/fake_cluster.h"

namespace cairn::client::testing {

namespace {
constexpr std::uint64_t kConnectionsPerDoor = 1'000'000;
}

FakePeer::FakePeer(FakeMaster& group, std::size_t index, net::Address at)
    : FakeServer(group.runtime(), group.network(), std::move(at)), group_(group), index_(index) {
  listen();
}

Task<Result<net::Payload>> FakePeer::serve(std::uint64_t connection, std::uint16_t op,
                                           net::Payload request) {
  Result<net::Payload> reply = co_await group_.serve_at(
      index_, index_ * kConnectionsPerDoor + connection, op, std::move(request));
  co_return reply;
}

void FakeMaster::add_peer(net::Address at) {
  peers_.push_back(std::make_unique<FakePeer>(*this, peers_.size() + 1, std::move(at)));
}

FakeServer& FakeMaster::door(std::size_t index) {
  if (index == 0) return *this;
  return *peers_.at(index - 1);
}

std::string FakeMaster::grpc_address(std::size_t index) {
  net::Address address = door(index).address();
  --address.port;
  return address.to_string();
}

FakeServer::ChannelPtr FakeMaster::channel_of(std::uint64_t connection) {
  const std::size_t index = connection / kConnectionsPerDoor;
  if (index == 0) return channel(connection);
  return peers_.at(index - 1)->channel(connection % kConnectionsPerDoor);
}

void FakeMaster::elect(std::size_t index) {
  leader_ = index;
  for (auto& [id, node] : nodes) {
    node.shared.clear();
    node.pinned.clear();
  }
  for (auto& [id, client] : clients_) {
    client.connection = 0;
    client.expected = true;
  }
  released_.notify_all();
}

void FakeMaster::kill(std::size_t index) {
  door(index).close();
  if (leader_ == index) depose();
}

void FakeMaster::revive(std::size_t index) {
  if (index == 0) {
    listen();
  } else {
    peers_.at(index - 1)->open();
  }
}

void FakeMaster::close_all() {
  paused_.clear();
  close();
  for (const auto& peer : peers_) peer->close();
}

void FakeMaster::pause(std::size_t index) { pause_until(index, Instant::infinite()); }

void FakeMaster::pause_until(std::size_t index, Instant until) {
  paused_[index] = until;
  network_.set_unreachable(door(index).address(), until > runtime_.now());
}

Task<void> FakeMaster::while_paused(std::size_t index) {
  while (paused_.contains(index) && runtime_.now() < paused_.at(index)) {
    co_await runtime::sleep_for(runtime_, 1ms);
  }
  if (paused_.erase(index) != 0) network_.set_unreachable(door(index).address(), false);
}

pb::ClientReply FakeMaster::redirect() const {
  pb::ClientReply reply;
  reply.mutable_error()->set_code(static_cast<std::uint32_t>(Code::kNotMaster));
  return reply;
}

Task<Result<net::Payload>> FakeMaster::serve_at(std::size_t index, std::uint64_t connection,
                                                std::uint16_t op, net::Payload request) {
  CHECK_EQ(op, pb::OP_CLIENT_REQUEST);
  pb::ClientRequest ask;
  CHECK(ask.ParseFromString(request.meta));
  const bool mutation = is_mutation(ask);
  const bool memory = ask.has_acquire_lease() || ask.has_unpin();
  co_await while_paused(index);
  Result<pb::ClientReply> reply = redirect();
  if (leader_ == index && trouble.has_value()) co_return fail(*trouble, "in trouble");
  const bool unpin_lost = ask.has_unpin() && lose_unpins != 0;
  if (unpin_lost) --lose_unpins;
  if (unpin_lost || (ask.has_reclaim() && lose_reclaims)) {
    network_.cut(door(index).address());
    co_return fail(Code::kConnectionLost);
  }
  if (leader_ == index) reply = co_await answer(connection, std::move(ask));
  co_await while_paused(index);
  std::uint64_t none = 0;
  std::uint64_t& lose = mutation ? lose_replies : memory ? lose_answers : none;
  if (leader_ == index && reply.has_value() && lose != 0) {
    --lose;
    network_.cut(door(index).address());
    co_return fail(Code::kConnectionLost);
  }
  // What a deposed master says is not said.
  if (leader_ != index) {
    ++redirects;
    reply = redirect();
    if (leader_ != kNobody && knows_leader) reply->set_master(grpc_address(leader_));
  }
  if (!reply.has_value()) co_return fail(reply.error());
  net::Payload payload;
  payload.meta = reply->SerializeAsString();
  co_return payload;
}

Result<pb::ClientReply> FakeMaster::open_session(std::uint64_t connection,
                                                 const pb::OpenSession& open) {
  const std::uint64_t resume = open.resume();
  if (resume != 0 && !clients_.contains(resume)) return fail(Code::kSessionGone);
  if (resume != 0) ++resumed;
  const std::uint64_t id = resume != 0 ? resume : next_session_++;
  clients_[id].connection = connection;
  pb::ClientReply reply;
  pb::OpenSessionReply& opened = *reply.mutable_open_session();
  opened.set_session(id);
  opened.set_lease_ms(std::chrono::duration_cast<std::chrono::milliseconds>(lease_).count());
  opened.set_root(1);
  opened.set_reclaim(clients_[id].expected);
  if (!known_members) return reply;
  opened.add_mds(grpc_address(leader_));
  for (std::size_t i = 0; i <= peers_.size(); ++i) {
    if (i != leader_) opened.add_mds(grpc_address(i));
  }
  return reply;
}

Result<pb::ClientReply> FakeMaster::reclaim(std::uint64_t session, const pb::Reclaim& told) {
  Client& client = clients_.at(session);
  ++reclaims;
  if (!client.expected) return pb::ClientReply();
  client.expected = false;
  for (const pb::Reclaim::Held& held : told.held()) {
    Node& node = nodes.at(held.inode());
    if (held.pins() != 0) node.pinned.insert(session);
    if (held.mode() == pb::LEASE_SHARED) node.shared.insert(session);
    if (held.mode() == pb::LEASE_EXCLUSIVE) CHECK_EQ(node.holder, session);
  }
  released_.notify_all();
  return pb::ClientReply();
}

bool FakeMaster::any_expected() const {
  return std::ranges::any_of(clients_, [](const auto& entry) { return entry.second.expected; });
}

}  // namespace cairn::client::testing
