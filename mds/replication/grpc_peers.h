// GrpcPeers: PeerTransport over gRPC: one stream of messages (common/rpc/stream.h) a direction, so
// that each member dials all others. docs/protocols/paxos.md.
//
// Owns:     the streams to the peers of set_peers(). GrpcServer owns those that come in.
// Promises: on_message hears only from callers with the key of this cluster, of its id, who meant
//           this member. A peer of another cluster is refused, and the log says so loudly. A peer
//           that opens a second stream (it restarted) replaces its first one. When a peer dials us
//           it is dialled at once.
// Requires: the loop thread; start() first; streams() given to a GrpcServer that is stopped before
//           this dies.
// Limits:   those of rpc::GrpcStream with limits::kPeerQueueBytesMax a peer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/net/channel.h"
#include "common/observe/log.h"
#include "common/rpc/grpc_stream.h"
#include "common/rpc/stream.h"
#include "common/runtime/runtime.h"
#include "mds/replication/peer_transport.h"
#include "proto/mds_peer.pb.h"

namespace cairn::mds::replication {

class GrpcPeers final : public PeerTransport {
 public:
  struct Options {
    NodeId self;
    ClusterId cluster_id;
    std::uint64_t repo_uuid = 0;
    std::string address;  // of the own gRPC door, as the others are told
    net::Credentials credentials;
  };
  // Something about a peer has changed: ask connected() and hello_of().
  using OnChange = std::function<void(NodeId peer)>;

  GrpcPeers(runtime::Runtime& runtime, observe::Log& log, Options options);
  ~GrpcPeers() override;

  // For the GrpcServer of this process.
  const rpc::StreamDispatcher& streams() const { return streams_; }

  void start(OnMessage on_message) override;
  void set_peers(const std::map<NodeId, net::Address>& peers) override;
  void send(NodeId to, std::shared_ptr<const std::string> bytes) override;
  bool connected(NodeId to) const override;

  // In a turn of its own. Empty: nobody is told.
  void on_change(OnChange callback) { on_change_ = std::move(callback); }
  // What the peer said of itself when it dialled us last: its address, its repository. nullopt: it
  // never did.
  std::optional<pb::PeerHello> hello_of(NodeId peer) const;
  // For the streams that are opened from now on.
  void set_address(std::string address) { options_.address = std::move(address); }
  // Messages to `peer` that were not sent: no connection, or its queue was full.
  std::uint64_t dropped(NodeId peer) const;

 private:
  class Incoming;
  struct Link {
    net::Address address;
    std::unique_ptr<rpc::GrpcStream> stream;
    Instant next_complaint;
    bool was_connected = false;
  };
  struct Known {
    pb::PeerHello hello;
    Incoming* stream = nullptr;  // none: the peer has gone
    std::function<void(const Error&)> close;
  };

  Result<std::unique_ptr<rpc::StreamReceiver>> open(rpc::StreamOpening opening);
  Status check(const pb::PeerHello& hello, const std::string& peer);
  std::unique_ptr<rpc::GrpcStream> dial(NodeId peer, const net::Address& address);
  std::string hello_to(NodeId peer) const;
  void link_changed(NodeId peer, const Status& status);
  void tell(NodeId peer);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  Options options_;
  rpc::StreamDispatcher streams_;
  OnMessage on_message_;
  OnChange on_change_;
  std::map<NodeId, Link> links_;
  std::map<NodeId, Known> known_;  // ids of MDS are few: below kFirstCsId
  Instant next_complaint_;         // about strangers
  std::shared_ptr<GrpcPeers*> self_ = std::make_shared<GrpcPeers*>(this);
};

}  // namespace cairn::mds::replication
