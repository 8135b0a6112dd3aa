#include "mds/replication/grpc_peers.h"

#include "common/base/limits.h"

namespace cairn::mds::replication {
namespace {

constexpr const char* kMethod = "/cairn.pb.Peer/Messages";
// A peer that is down is no news every second.
constexpr Duration kComplaintSpacing = 10s;

bool is_mds(NodeId node) { return node >= kFirstMdsId && node < kFirstCsId; }

}  // namespace

// A stream of a peer to us.
class GrpcPeers::Incoming final : public rpc::StreamReceiver {
 public:
  Incoming(std::weak_ptr<GrpcPeers*> owner, NodeId from) : owner_(std::move(owner)), from_(from) {}
  ~Incoming() override {
    const std::shared_ptr<GrpcPeers*> owner = owner_.lock();
    if (owner == nullptr) return;
    Known& known = (*owner)->known_[from_];
    if (known.stream != this) return;
    known.stream = nullptr;
    known.close = nullptr;
    (*owner)->log_.info("MDS#{} has closed its stream to us", from_.raw());
    (*owner)->tell(from_);
  }

  Status message(std::string bytes) override {
    const std::shared_ptr<GrpcPeers*> owner = owner_.lock();
    if (owner == nullptr) return fail(Code::kUnavailable, "stopping");
    (*owner)->on_message_(from_, std::move(bytes));
    return {};
  }

 private:
  const std::weak_ptr<GrpcPeers*> owner_;
  const NodeId from_;
};

GrpcPeers::GrpcPeers(runtime::Runtime& runtime, observe::Log& log, Options options)
    : runtime_(runtime), log_(log), options_(std::move(options)) {
  CHECK(is_mds(options_.self));
  CHECK(options_.cluster_id.valid());
  streams_.add(kMethod, [this](rpc::StreamOpening opening) { return open(std::move(opening)); });
}

GrpcPeers::~GrpcPeers() = default;

void GrpcPeers::start(OnMessage on_message) {
  CHECK(on_message_ == nullptr && on_message != nullptr);
  on_message_ = std::move(on_message);
}

void GrpcPeers::set_peers(const std::map<NodeId, net::Address>& peers) {
  CHECK(on_message_ != nullptr);
  std::erase_if(links_, [&peers](const auto& link) {
    const auto it = peers.find(link.first);
    return it == peers.end() || it->second != link.second.address;
  });
  for (const auto& [peer, address] : peers) {
    if (peer == options_.self || links_.contains(peer)) continue;
    Link& link = links_[peer];
    link.address = address;
    link.stream = dial(peer, address);
  }
}

void GrpcPeers::send(NodeId to, std::shared_ptr<const std::string> bytes) {
  const auto it = links_.find(to);
  if (it != links_.end()) it->second.stream->send(std::move(bytes));
}

bool GrpcPeers::connected(NodeId to) const {
  const auto it = links_.find(to);
  return it != links_.end() && it->second.stream->connected();
}

std::optional<pb::PeerHello> GrpcPeers::hello_of(NodeId peer) const {
  const auto it = known_.find(peer);
  if (it == known_.end()) return std::nullopt;
  return it->second.hello;
}

std::uint64_t GrpcPeers::dropped(NodeId peer) const {
  const auto it = links_.find(peer);
  return it == links_.end() ? 0 : it->second.stream->dropped();
}

// ---- out ----

std::string GrpcPeers::hello_to(NodeId peer) const {
  pb::PeerHello hello;
  hello.set_cluster_id(options_.cluster_id.raw());
  hello.set_from(options_.self.raw());
  hello.set_to(peer.raw());
  hello.set_address(options_.address);
  hello.set_repo_uuid(options_.repo_uuid);
  return hello.SerializeAsString();
}

// The stream dies with this object, and with it its callbacks.
std::unique_ptr<rpc::GrpcStream> GrpcPeers::dial(NodeId peer, const net::Address& address) {
  rpc::GrpcStream::Options options;
  options.address = address;
  options.method = kMethod;
  options.hello = [this, peer] { return hello_to(peer); };
  options.queue_bytes_max = limits::kPeerQueueBytesMax;
  options.on_change = [this, peer](const Status& status) { link_changed(peer, status); };
  return std::make_unique<rpc::GrpcStream>(runtime_, options_.credentials, std::move(options));
}

void GrpcPeers::link_changed(NodeId peer, const Status& status) {
  const auto it = links_.find(peer);
  CHECK(it != links_.end());
  Link& link = it->second;
  const bool was_connected = std::exchange(link.was_connected, status.has_value());
  if (status.has_value()) {
    log_.info("connected to MDS#{} at {}", peer.raw(), link.address.to_string());
    link.next_complaint = runtime_.now();
  } else if (was_connected || runtime_.now() >= link.next_complaint) {
    link.next_complaint = runtime_.now() + kComplaintSpacing;
    log_.warning("no connection to MDS#{} at {}: {}", peer.raw(), link.address.to_string(),
                 status.error().to_string());
  }
  if (was_connected != link.was_connected) tell(peer);
}

// ---- in ----

Status GrpcPeers::check(const pb::PeerHello& hello, const std::string& peer) {
  if (on_message_ == nullptr) return fail(Code::kUnavailable, "this MDS is not ready yet");
  std::string wrong;
  Code code = Code::kInvalidArgument;
  const NodeId from = NodeId::from_raw(hello.from());
  if (hello.cluster_id() != options_.cluster_id.raw()) {
    code = Code::kWrongCluster;
    wrong = fmt::format("MDS#{} of cluster {:016x} dialled an MDS of cluster {:016x}", hello.from(),
                        hello.cluster_id(), options_.cluster_id.raw());
  } else if (hello.to() != options_.self.raw()) {
    wrong = fmt::format("MDS#{} looks for MDS#{}, but this is MDS#{}", hello.from(), hello.to(),
                        options_.self.raw());
  } else if (!is_mds(from) || from == options_.self) {
    wrong = fmt::format("MDS#{} was dialled by somebody who says to be MDS#{}", options_.self.raw(),
                        hello.from());
  }
  if (wrong.empty()) return {};
  if (runtime_.now() >= next_complaint_) {
    next_complaint_ = runtime_.now() + kComplaintSpacing;
    log_.error("refused a peer at {} (it says: {}): {}", peer, hello.address(), wrong);
  }
  return fail(code, wrong);
}

Result<std::unique_ptr<rpc::StreamReceiver>> GrpcPeers::open(rpc::StreamOpening opening) {
  pb::PeerHello hello;
  if (!hello.ParseFromString(opening.hello)) {
    return fail(Code::kProtocol, "undecodable hello of an MDS");
  }
  TRY_VOID(check(hello, opening.peer));
  const NodeId from = NodeId::from_raw(hello.from());
  log_.info("MDS#{} at {} has opened a stream to us", from.raw(), hello.address());
  auto incoming = std::make_unique<Incoming>(self_, from);
  Known& known = known_[from];
  if (known.close) known.close(Error(Code::kConnectionLost, "the same MDS opened a newer stream"));
  known = Known{std::move(hello), incoming.get(), std::move(opening.close)};
  const auto link = links_.find(from);
  if (link != links_.end()) link->second.stream->retry_now();
  tell(from);
  return incoming;
}

void GrpcPeers::tell(NodeId peer) {
  if (on_change_ == nullptr) return;
  runtime_.post([owner = std::weak_ptr(self_), peer] {
    const std::shared_ptr<GrpcPeers*> alive = owner.lock();
    if (alive != nullptr && (*alive)->on_change_) (*alive)->on_change_(peer);
  });
}

}  // namespace cairn::mds::replication
