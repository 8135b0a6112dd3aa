#include <algorithm>

#include "client/core/session.h"
#include "client/core/testing/fake_cluster.h"

namespace cairn::client::testing {

FakeMaster::FakeMaster(runtime::Runtime& runtime, net::MemNetwork& network, net::Address at,
                       Shape made, std::vector<net::Address> chunk_servers, Duration lease)
    : FakeServer(runtime, network, std::move(at)),
      shape(made),
      chunk_servers_(std::move(chunk_servers)),
      lease_(lease),
      released_(runtime) {
  Node& root = nodes[1];
  root.attributes.set_inode(1);
  root.attributes.set_type(pb::TYPE_DIRECTORY);
  listen();
}

std::vector<std::uint64_t> FakeMaster::sessions() const {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, client] : clients_) ids.push_back(id);
  return ids;
}

void FakeMaster::end_session(std::uint64_t session) {
  clients_.erase(session);
  for (auto& [id, node] : nodes) {
    node.shared.erase(session);
    if (node.holder != session) continue;
    node.holder = 0;
    for (auto& [index, chunk] : node.chunks) chunk.set_writer_epoch(0);
  }
  std::vector<std::uint64_t> ids;
  for (const auto& [id, node] : nodes) ids.push_back(id);
  for (const std::uint64_t id : ids) unpin(id, session);
  std::erase_if(converting_, [&](const auto& entry) { return entry.second == session; });
  released_.notify_all();
}

Task<Result<net::Payload>> FakeMaster::serve(std::uint64_t connection, std::uint16_t op,
                                             net::Payload request) {
  Result<net::Payload> reply = co_await serve_at(0, connection, op, std::move(request));
  co_return reply;
}

Task<Result<pb::ClientReply>> FakeMaster::answer(std::uint64_t connection,
                                                 pb::ClientRequest request) {
  pb::ClientReply reply;
  if (request.has_open_session()) co_return open_session(connection, request.open_session());
  while (request.has_open_chunk() && is_held(request.open_chunk())) {
    co_await released_.wait_until(runtime_.after(1s));
  }
  const auto client = clients_.find(request.session());
  if (client == clients_.end()) co_return fail(Code::kSessionGone);
  if (client->second.connection != connection) co_return fail(Code::kConnectionLost, "older");
  if (on_request) on_request(request);
  if (!clients_.contains(request.session())) co_return fail(Code::kSessionGone);
  if (request.has_reclaim()) co_return reclaim(request.session(), request.reclaim());
  if (is_mutation(request)) {
    const auto stored = client->second.replies.find(request.seq());
    if (stored == client->second.replies.end()) {
      CHECK_GE(request.seq(), request.answered_below());
      ++executed;
      const Result<pb::ClientReply> done = mutate(request);
      if (done.has_value()) {
        reply = *done;
      } else {
        reply.mutable_error()->set_code(static_cast<std::uint32_t>(done.error().code()));
        reply.mutable_error()->set_message(done.error().message());
      }
      client->second.replies[request.seq()] = reply.SerializeAsString();
    } else {
      CHECK(reply.ParseFromString(stored->second));
    }
    co_return reply;
  }
  if (request.has_acquire_lease()) {
    Result<pb::ClientReply> granted = co_await acquire(std::move(request));
    co_return granted;
  }
  if (inode_of(request) != 0 && !nodes.contains(inode_of(request))) co_return fail(Code::kNotFound);
  if (request.has_close_session()) {
    end_session(request.session());
  } else if (request.has_next_conversion()) {
    reply = next_conversion(request);
  } else if (request.has_release_lease()) {
    nodes.at(request.release_lease().inode()).shared.erase(request.session());
    released_.notify_all();
  } else if (request.has_lookup()) {
    const auto name = names.find(request.lookup().name());
    if (name == names.end()) co_return fail(Code::kNotFound);
    *reply.mutable_attributes() = nodes.at(name->second).attributes;
  } else if (request.has_get_attr()) {
    const std::uint64_t id = request.get_attr().inode();
    if (!nodes.contains(id)) co_return fail(Code::kNotFound);
    while (nodes.at(id).holder != 0 && nodes.at(id).holder != request.session()) {
      recall(nodes.at(id), id, nodes.at(id).holder, pb::LEASE_SHARED);
      co_await released_.wait_until(runtime_.after(1s));
    }
    *reply.mutable_attributes() = nodes.at(id).attributes;
  } else if (request.has_unpin()) {
    for (const auto& one : request.unpin().inodes()) unpin(one.inode(), request.session());
  } else if (request.has_get_chunks()) {
    const Node& node = nodes.at(request.get_chunks().inode());
    ++looks;
    if (!node.chunks.empty()) *reply.mutable_get_chunks()->mutable_layout() = layout(node);
    for (const auto& [index, chunk] : node.chunks) {
      if (index < request.get_chunks().first()) continue;
      if (reply.get_chunks().chunks_size() == static_cast<int>(request.get_chunks().count())) break;
      *reply.mutable_get_chunks()->add_chunks() = chunk;
    }
  }
  co_return reply;
}

Task<void> FakeMaster::send_recall(ChannelPtr to, pb::RecallLease recall) {
  net::Payload payload;
  payload.meta = recall.SerializeAsString();
  const Deadline deadline = runtime_.after(5s);
  const Result<net::Payload> told =
      co_await to->call(pb::OP_RECALL_LEASE, std::move(payload), deadline);
  ignore(told, "sent again by the waiter");
}

void FakeMaster::recall(Node& node, std::uint64_t id, std::uint64_t session, pb::LeaseMode keep) {
  const auto client = clients_.find(session);
  if (client == clients_.end()) return;
  const ChannelPtr to = channel_of(client->second.connection);
  if (to == nullptr) return;
  ++recalls;
  pb::RecallLease message;
  message.set_inode(id);
  message.set_keep(keep);
  message.set_epoch(node.holder == session ? node.epoch : 0);
  tasks().spawn(send_recall(to, std::move(message)));
}

Task<Result<pb::ClientReply>> FakeMaster::acquire(pb::ClientRequest request) {
  const pb::AcquireLease ask = request.acquire_lease();
  const std::uint64_t session = request.session();
  if (!nodes.contains(ask.inode())) co_return fail(Code::kNotFound);
  const bool exclusive = ask.mode() == pb::LEASE_EXCLUSIVE;
  if (ask.pin() != 0) nodes.at(ask.inode()).pinned.insert(session);
  co_await wait_free(ask.inode(), session, exclusive);
  if (!nodes.contains(ask.inode())) co_return fail(Code::kNotFound);
  if (!clients_.contains(session)) co_return fail(Code::kSessionGone);
  Node& node = nodes.at(ask.inode());
  pb::ClientReply reply;
  pb::AcquireLeaseReply& granted = *reply.mutable_acquire_lease();
  if (exclusive) {
    if (node.holder != session) node.epoch = next_epoch_++;
    node.holder = session;
    node.shared.erase(session);
    granted.set_epoch(node.epoch);
  } else if (node.holder != session) {
    node.shared.insert(session);
  }
  granted.set_mode(node.holder == session ? pb::LEASE_EXCLUSIVE : pb::LEASE_SHARED);
  granted.set_epoch(node.holder == session ? node.epoch : 0);
  *granted.mutable_attributes() = node.attributes;
  if (!node.chunks.empty()) *granted.mutable_layout() = layout(node);
  granted.set_trim_pending(node.trim_pending);
  co_return reply;
}

Task<void> FakeMaster::wait_free(std::uint64_t inode, std::uint64_t session, bool exclusive) {
  while (nodes.contains(inode)) {
    Node& node = nodes.at(inode);
    bool free = true;
    if (node.holder != 0 && node.holder != session) {
      recall(node, inode, node.holder, exclusive ? pb::LEASE_NONE : pb::LEASE_SHARED);
      free = false;
    }
    for (const std::uint64_t other : node.shared) {
      if (!exclusive || other == session) continue;
      recall(node, inode, other, pb::LEASE_NONE);
      free = false;
    }
    if (free && !any_expected()) co_return;
    co_await released_.wait_until(runtime_.after(2s));
  }
}

pb::Layout FakeMaster::layout(const Node& node) const {
  const Shape is = node.shape.value_or(shape);
  pb::Layout layout;
  layout.mutable_encoding()->set_data(is.data);
  layout.mutable_encoding()->set_parity(is.parity);
  layout.mutable_encoding()->set_min(is.min);
  layout.set_cell_bytes(is.cell_bytes);
  layout.set_piece_bytes(is.piece_bytes);
  return layout;
}

void FakeMaster::update(Node& node, const pb::FileUpdate& update) {
  node.attributes.set_size(std::max(node.attributes.size(), update.size()));
  if (update.mtime_ns() != 0) node.attributes.set_mtime_ns(update.mtime_ns());
  if (update.trimmed()) node.trim_pending = false;
  const std::uint64_t stored = node.attributes.blocks() * 512 + update.written_bytes();
  const std::uint64_t most = align_up(node.attributes.size(), kBlockBytes);
  node.attributes.set_blocks(std::min(stored, most) / 512);
}

Result<pb::ClientReply> FakeMaster::mutate(const pb::ClientRequest& request) {
  pb::ClientReply reply;
  if (inode_of(request) != 0 && !nodes.contains(inode_of(request))) return fail(Code::kNotFound);
  if (request.has_make_shadow()) return make_shadow(request);
  if (request.has_swap_data()) return swap_data(request);
  if (request.has_make_node()) {
    const pb::MakeNode& make = request.make_node();
    if (names.contains(make.name())) return fail(Code::kExists);
    const std::uint64_t id = next_inode_++;
    names[make.name()] = id;
    Node& node = nodes[id];
    node.attributes.set_inode(id);
    node.attributes.set_type(make.type());
    node.attributes.set_nlink(1);
    if (make.pin() != 0) node.pinned.insert(request.session());
    if (make.exclusive_lease()) {
      node.holder = request.session();
      node.epoch = next_epoch_++;
    }
    *reply.mutable_make_node()->mutable_attributes() = node.attributes;
    reply.mutable_make_node()->set_epoch(make.exclusive_lease() ? node.epoch : 0);
    return reply;
  }
  if (request.has_unlink()) {
    if (names.erase(request.unlink().name()) == 0) return fail(Code::kNotFound);
    return reply;
  }
  if (request.has_open_chunk()) return open_chunk(request);
  if (request.has_drop_pieces()) return drop_pieces(request);
  if (request.has_close_chunk()) return close_chunk(request);
  if (request.has_set_attr()) return set_attr(request);
  if (request.has_commit_file()) {
    Node& node = nodes.at(request.commit_file().inode());
    if (node.holder != request.session() || node.epoch != request.commit_file().epoch()) {
      return fail(Code::kStaleEpoch);
    }
    update(node, request.commit_file().update());
    *reply.mutable_attributes() = node.attributes;
    return reply;
  }
  if (request.has_release_lease()) {
    const pb::ReleaseLease& release = request.release_lease();
    Node& node = nodes.at(release.inode());
    if (node.holder != request.session() || node.epoch != release.epoch()) {
      return fail(Code::kStaleEpoch);
    }
    if (refuse_releases) {
      node.holder = 0;
      released_.notify_all();
      return fail(Code::kStaleEpoch);
    }
    if (release.has_update()) update(node, release.update());
    if (release.unsettled()) {
      ++unsettled;
      // Recovery drops chunks that no committed size ever reached.
      const Shape is = shape_of(release.inode());
      const std::uint64_t chunk_bytes = is.piece_bytes * is.data;
      const std::uint64_t used = div_ceil(node.attributes.size(), chunk_bytes);
      node.chunks.erase(node.chunks.lower_bound(used), node.chunks.end());
    }
    for (auto& [index, chunk] : node.chunks) chunk.set_writer_epoch(0);
    node.holder = 0;
    if (release.keep() == pb::LEASE_SHARED) node.shared.insert(request.session());
    released_.notify_all();
    return reply;
  }
  return fail(Code::kUnsupported);
}

Result<pb::ClientReply> FakeMaster::set_attr(const pb::ClientRequest& request) {
  const pb::SetAttr& set = request.set_attr();
  Node& node = nodes.at(set.inode());
  if (set.has_size()) {
    if (node.holder != request.session() || node.epoch != set.epoch()) {
      return fail(Code::kStaleEpoch);
    }
    const Shape is = shape_of(set.inode());
    const std::uint64_t chunk_bytes = is.piece_bytes * is.data;
    if (set.size() < node.attributes.size()) {
      node.chunks.erase(node.chunks.lower_bound(div_ceil(set.size(), chunk_bytes)),
                        node.chunks.end());
      node.trim_pending =
          set.size() % chunk_bytes != 0 && node.chunks.contains(set.size() / chunk_bytes);
    }
    node.attributes.set_size(set.size());
    const std::uint64_t most = align_up(set.size(), kBlockBytes) / 512;
    node.attributes.set_blocks(std::min<std::uint64_t>(node.attributes.blocks(), most));
  }
  if (set.has_mode()) node.attributes.set_mode(set.mode());
  if (set.has_mtime_ns()) node.attributes.set_mtime_ns(set.mtime_ns());
  pb::ClientReply reply;
  *reply.mutable_attributes() = node.attributes;
  return reply;
}

pb::Chunk& FakeMaster::allocate(std::uint64_t inode, std::uint64_t index) {
  Node& node = nodes.at(inode);
  const Shape is = shape_of(inode);
  node.shape = is;
  pb::Chunk& chunk = node.chunks[index];
  chunk.set_id(next_chunk_++);
  chunk.set_inode(inode);
  chunk.set_index(index);
  chunk.set_version(1);
  *chunk.mutable_encoding() = layout(node).encoding();
  chunk.set_cell_bytes(is.cell_bytes);
  chunk.set_piece_bytes(is.piece_bytes);
  for (std::uint32_t i = 0; i < is.data + is.parity; ++i) {
    const std::size_t where = (chunk.id() + i) % chunk_servers_.size();
    pb::Piece& piece = *chunk.add_pieces();
    piece.set_index(i);
    piece.set_cs_id(static_cast<std::uint32_t>(1025 + where));
    piece.set_address(chunk_servers_[where].to_string());
  }
  return chunk;
}

Result<pb::ClientReply> FakeMaster::open_chunk(const pb::ClientRequest& request) {
  const pb::OpenChunk& open = request.open_chunk();
  ++opens;
  Node& node = nodes.at(open.inode());
  if (node.holder != request.session() || node.epoch != open.epoch())
    return fail(Code::kStaleEpoch);
  const Shape is = shape_of(open.inode());
  if ((open.touch() >> (is.data + is.parity)) != 0) {
    return fail(Code::kInvalidArgument, "too many pieces");
  }
  if (!node.chunks.contains(open.index())) allocate(open.inode(), open.index());
  pb::Chunk& chunk = node.chunks.at(open.index());
  if (chunk.writer_epoch() == 0) chunk.set_opened(chunk.opened() + 1);
  for (pb::Piece& piece : *chunk.mutable_pieces()) {
    const bool touch = (open.touch() >> piece.index() & 1U) != 0;
    if (touch && piece.state() == pb::PIECE_UNWRITTEN) piece.set_state(pb::PIECE_CURRENT);
  }
  chunk.set_writer_epoch(open.epoch());
  if (on_open) on_open();
  pb::ClientReply reply;
  *reply.mutable_open_chunk()->mutable_layout() = layout(node);
  *reply.mutable_open_chunk()->mutable_chunk() = chunk;
  return reply;
}

void FakeMaster::cs_moved(std::size_t index, const net::Address& to) {
  chunk_servers_.at(index) = to;
  for (auto& [id, node] : nodes) {
    for (auto& [at, chunk] : node.chunks) {
      for (pb::Piece& piece : *chunk.mutable_pieces()) {
        if (piece.cs_id() == 1025 + index) piece.set_address(to.to_string());
      }
    }
  }
}

}  // namespace cairn::client::testing
