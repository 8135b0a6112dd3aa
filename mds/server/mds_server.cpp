#include "mds/server/mds_server.h"

#include <algorithm>
#include <utility>

#include "proto/data_plane.pb.h"
#include "proto/mds_client.pb.h"

namespace cairn::mds::server {

namespace {
constexpr Duration kStep = 1s;
constexpr Duration kGreeting = 5s;
constexpr Duration kLastWords = 5s;
// A client that was told where the master is has no more business here.
constexpr Duration kTurnedAway = 2s;
// The methods a reign serves, in the order of proto/admin.proto and proto/mds_cluster.proto.
constexpr const char* kMasterMethods[] = {
    "/cairn.pb.Admin/AddCs",        "/cairn.pb.Admin/Stat",         "/cairn.pb.Admin/Info",
    "/cairn.pb.Admin/SetPolicy",    "/cairn.pb.Admin/GetPolicy",    "/cairn.pb.Admin/Events",
    "/cairn.pb.Admin/AddMds",       "/cairn.pb.Admin/RemoveMds",    "/cairn.pb.Admin/CheckMds",
    "/cairn.pb.Admin/SetConfig",    "/cairn.pb.Admin/GetConfig",    "/cairn.pb.Admin/Scrub",
    "/cairn.pb.Admin/ScrubStatus",  "/cairn.pb.Cluster/RegisterCs", "/cairn.pb.Cluster/Heartbeat",
    "/cairn.pb.Cluster/LookupChunk"};
}  // namespace

MdsServer::Reign::Reign(MdsServer& server, const master::Master::Options& options)
    : master(server.parts_.runtime, server.parts_.network, server.parts_.log,
             server.parts_.vault.tables(), server.group_, options),
      cluster(master, server.members_),
      admin(master, server.members_),
      group(master, server.group_, server.members_, server.parts_.make_caller) {
  cluster.add_to(dispatcher);
  admin.add_to(dispatcher);
  group.add_to(dispatcher);
}

MdsServer::MdsServer(Parts parts, Options options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      tasks_(parts_.runtime),
      doors_(parts_.runtime),
      group_(parts_.runtime, parts_.log, parts_.vault, parts_.store, parts_.peers,
             parts_.make_caller, options_.group, *this),
      members_(parts_.runtime, parts_.log, group_, options_.identity),
      snapshots_(parts_.runtime, parts_.vault, options_.settings.cluster_id),
      peer_service_(group_, snapshots_, options_.settings.cluster_id),
      changed_(parts_.runtime) {
  dispatcher_.add<pb::HelloRequest, pb::HelloReply>(
      "/cairn.pb.Admin/Hello",
      [this](pb::HelloRequest request) { return hello(this, std::move(request)); });
  peer_service_.add_to(dispatcher_);
  for (const char* method : kMasterMethods) {
    dispatcher_.add(method, [this, name = std::string(method)](std::string request) {
      return forward(this, name, std::move(request));
    });
  }
}

MdsServer::~MdsServer() = default;

Status MdsServer::start() {
  TRY_VOID(group_.start());
  tasks_.spawn(reign(this));
  tasks_.spawn(keep(this));
  return {};
}

Task<Status> MdsServer::stop(Deadline deadline) {
  if (group_.yield(NodeId())) {
    // Whoever takes over may need this member's answers, and tells it when it is the leader.
    while (parts_.runtime.now() < deadline) {
      const NodeId leader = group_.leader();
      if (leader.valid() && leader != options_.identity.mds_id) break;
      co_await runtime::sleep_for(parts_.runtime, 10ms);
    }
  }
  stopping_ = true;
  changed_.notify_all();
  for (net::Stream* stream : greeting_) stream->close();
  for (net::Channel* channel : turned_away_) channel->close();
  co_await tasks_.join();
  co_await doors_.join();
  Status stopped = co_await group_.stop();
  co_return stopped;
}

// ---- the reign ----

void MdsServer::on_elected() {
  elected_ = true;
  ++elections_;
  changed_.notify_all();
}

void MdsServer::on_deposed() {
  elected_ = false;
  // At once: what it still does must not get into the reign of somebody else, nor into a later one
  // of this MDS.
  if (reign_ != nullptr) reign_->master.depose();
  changed_.notify_all();
}

Task<void> MdsServer::reign(MdsServer* self) {
  while (!self->stopping_) {
    if (self->elected_) {
      co_await self->reign_once();
      continue;
    }
    co_await self->changed_.wait();
  }
}

Task<void> MdsServer::reign_once() {
  const std::uint64_t election = elections_;
  members_.begin_reign();
  master::Settings settings = options_.settings;
  settings.mds_addresses = [this] { return members_.addresses(); };
  reign_ = std::make_shared<Reign>(*this, master::Master::Options{.settings = std::move(settings)});
  const std::shared_ptr<Reign> reign = reign_;
  std::erase_if(reigns_, [](const std::weak_ptr<Reign>& one) { return one.expired(); });
  reigns_.push_back(reign);
  Status begun = reign->master.start();
  if (begun.has_value()) begun = co_await reign->master.ready();
  if (begun.has_value()) {
    parts_.log.info("MDS#{} is the master", options_.identity.mds_id.raw());
  } else if (elected_ && elections_ == election && !stopping_ &&
             begun.error().code() != Code::kNotMaster) {
    // Nobody else can do better with these tables than this MDS after a restart.
    options_.on_end(begun.error());
  }
  while (elected_ && elections_ == election && !stopping_) co_await changed_.wait();
  parts_.log.info("MDS#{} ends its reign", options_.identity.mds_id.raw());
  reign_.reset();
  // It may wait for a chunk server that does not answer. Who was elected again meanwhile has to
  // serve.
  tasks_.spawn(end_reign(reign));
}

Task<void> MdsServer::end_reign(std::shared_ptr<Reign> reign) { co_await reign->master.stop(); }

bool MdsServer::uses_tables() const {
  return std::ranges::any_of(reigns_,
                             [](const std::weak_ptr<Reign>& one) { return !one.expired(); });
}

Task<void> MdsServer::keep(MdsServer* self) {
  while (!self->stopping_) {
    const Deadline next = self->parts_.runtime.after(kStep);
    while (!self->stopping_ && self->parts_.runtime.now() < next) {
      co_await runtime::sleep_for(self->parts_.runtime, kStep / 5);
    }
    if (self->stopping_) co_return;
    master::EventWriter* events = self->is_master() ? &self->reign_->master.events() : nullptr;
    self->members_.step(events, &self->tasks_);
  }
}

void MdsServer::on_membership(const paxos::Membership& membership) {
  if (options_.on_membership) options_.on_membership(membership);
  const NodeId self = options_.identity.mds_id;
  // One that joins is not a member of what it hears first.
  const bool removed =
      membership.next_id > self.raw() && paxos::find_member(membership, self) == nullptr;
  if (removed && !std::exchange(removed_, true)) tasks_.spawn(end_removed(this));
}

// It heard perhaps before the others did, and may be the one who can still tell them.
Task<void> MdsServer::end_removed(MdsServer* self) {
  const NodeId id = self->options_.identity.mds_id;
  self->parts_.log.warning("MDS#{} was removed from the cluster", id.raw());
  const Deadline end = self->parts_.runtime.after(kLastWords);
  while (!self->stopping_ && self->parts_.runtime.now() < end) {
    co_await runtime::sleep_for(self->parts_.runtime, kLastWords / 25);
  }
  if (self->stopping_) co_return;
  self->options_.on_end(
      Error(Code::kNotFound,
            fmt::format("MDS#{} was removed from the cluster: its repository {} is of no more use",
                        id.raw(), self->options_.identity.repository)));
}

void MdsServer::on_resync(NodeId member) {
  members_.resync(member, is_master() ? &reign_->master.events() : nullptr);
}

void MdsServer::on_report(NodeId from, pb::PeerReport report) {
  members_.heard(from, std::move(report));
}

void MdsServer::on_failure(const Error& error) { options_.on_end(error); }

// ---- doors ----

Error MdsServer::not_master() const {
  const std::string master = members_.master_address();
  return Error(Code::kNotMaster, master.empty()
                                     ? "no master is known: an election is under way, or too few "
                                       "MDS are up"
                                     : "the master is the MDS at " + master);
}

Task<Result<std::string>> MdsServer::forward(MdsServer* self, std::string method,
                                             std::string request) {
  if (!self->is_master()) co_return fail(self->not_master());
  const std::shared_ptr<Reign> reign = self->reign_;
  const rpc::Handler* handler = reign->dispatcher.find(method);
  CHECK(handler != nullptr);
  Result<std::string> reply = co_await (*handler)(std::move(request));
  const Status confirmed = co_await reign->master.environment().commands.confirm();
  if (!confirmed.has_value()) co_return fail(self->not_master());
  co_return reply;
}

Task<Result<pb::HelloReply>> MdsServer::hello(MdsServer* self, pb::HelloRequest request) {
  const master::Settings& settings = self->options_.settings;
  if (!request.cluster().empty() && request.cluster() != settings.cluster) {
    co_return fail(Code::kWrongCluster, fmt::format("this MDS serves cluster {}, not {}",
                                                    settings.cluster, request.cluster()));
  }
  pb::HelloReply reply;
  reply.set_cluster_id(settings.cluster_id.raw());
  reply.set_mds_id(settings.mds_id.raw());
  reply.set_version(service::kVersion);
  reply.set_client_port(self->options_.identity.address.port + 1U);
  reply.set_master(self->members_.master_address());
  co_return reply;
}

void MdsServer::accept(std::unique_ptr<net::Stream> stream) {
  if (stopping_) {
    stream->close();
  } else if (is_master()) {
    reign_->master.accept(std::move(stream));
  } else {
    doors_.spawn(turn_away(this, std::move(stream)));
  }
}

Task<Result<net::Payload>> MdsServer::redirect(MdsServer* self, net::Payload request) {
  (void)request;
  pb::ClientReply reply;
  const Error error = self->not_master();
  master::fill_error(error, reply.mutable_error());
  reply.set_master(self->members_.master_address());
  net::Payload payload;
  payload.meta = reply.SerializeAsString();
  co_return payload;
}

Task<void> MdsServer::turn_away(MdsServer* self, std::unique_ptr<net::Stream> stream) {
  net::Channel::Handler handler = [self](std::uint16_t, net::Payload request) {
    return redirect(self, std::move(request));
  };
  const Deadline greeting = self->parts_.runtime.after(kGreeting);
  // It is there until accept_channel() has ended.
  net::Stream* const greeted = stream.get();
  self->greeting_.insert(greeted);
  Result<std::unique_ptr<net::Channel>> made = co_await net::accept_channel(
      self->parts_.runtime, std::move(stream), self->options_.settings.credentials,
      std::move(handler), greeting);
  self->greeting_.erase(greeted);
  if (!made.has_value()) co_return;
  const std::unique_ptr<net::Channel> channel = std::move(*made);
  runtime::Completion<bool> gone(self->parts_.runtime);
  channel->on_close([gone]() mutable { gone.set(true); });
  self->turned_away_.insert(channel.get());
  if (self->stopping_) channel->close();
  // Long enough for its questions; it goes by itself, or is sent.
  const Deadline end = self->parts_.runtime.after(kTurnedAway);
  co_await gone.wait_until(end);
  channel->close();
  co_await channel->closed();
  self->turned_away_.erase(channel.get());
}

}  // namespace cairn::mds::server
