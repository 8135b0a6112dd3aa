// PeerTransport: datagrams between the MDS of a group. GrpcPeers (grpc_peers.h) carries them over
// gRPC streams, the simulator over its own network.
//
// Promises: messages between two live, connected members arrive soon, mostly once and in order; any
//           may be lost, repeated or late: the consensus copes. send() never blocks and never grows
//           without bound: what a peer's queue (limits::kPeerQueueBytesMax) cannot take is dropped.
// Requires: the loop thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/base/ids.h"
#include "common/net/stream.h"

namespace cairn::mds::replication {

class PeerTransport {
 public:
  virtual ~PeerTransport() = default;
  using OnMessage = std::function<void(NodeId from, std::string bytes)>;
  // Before anything else, once. `bytes` is a pb::PeerEnvelope of a member of the same cluster.
  virtual void start(OnMessage on_message) = 0;
  // Whom to keep a link to; links to others are dropped.
  virtual void set_peers(const std::map<NodeId, net::Address>& peers) = 0;
  virtual void send(NodeId to, std::shared_ptr<const std::string> bytes) = 0;
  virtual bool connected(NodeId to) const = 0;
};

}  // namespace cairn::mds::replication
