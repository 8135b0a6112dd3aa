#include "mds/master/master.h"

#include "mds/state/machine.h"

namespace cairn::mds::master {

using observe::Severity;

Master::Master(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
               const kv::Reader& tables, replication::ReplicatedLog& commands, Options options)
    : runtime_(runtime),
      tables_(tables),
      options_(std::move(options)),
      tasks_(runtime),
      doors_(runtime),
      made_(runtime),
      commands_(runtime, commands),
      env_{.runtime = runtime,
           .network = network,
           .log = log,
           .tables = tables,
           .commands = commands_,
           .tasks = tasks_,
           .settings = options_.settings,
           .stopping = stopping_},
      cs_board_(options_.settings.cs_inactive_after, options_.settings.cs_offline_after),
      links_(runtime, network, options_.settings.credentials),
      recovery_(env_, links_, cs_board_,
                [this](const pb::Chunk& chunk) {
                  holds_.poke(InodeId::from_raw(chunk.inode()));
                  repairs_.look_at(chunk);
                }),
      leases_(env_, sessions_, recovery_,
              [this](SessionId session, InodeId inode) {
                ender_.revoke(session, fmt::format("it did not give back the lease of inode {}",
                                                   inode.raw()));
              }),
      events_(env_),
      ender_(env_, sessions_, pins_, leases_, recovery_,
             [this](const Session& gone, std::string reason) { session_ended(gone, reason); }),
      purger_(env_, [this](InodeId inode) { return may_purge(inode); }),
      holds_(env_, sessions_, recovery_),
      repairs_(env_, {.cs_board = cs_board_, .holds = holds_, .events = events_}),
      census_(env_, cs_board_, repairs_),
      scrubs_(env_, cs_board_, events_),
      conversions_(
          env_, {.cs_board = cs_board_, .events = events_, .in_grace = [this] { return grace_; }}),
      clients_(env_, {.sessions = sessions_,
                      .pins = pins_,
                      .leases = leases_,
                      .cs_board = cs_board_,
                      .recovery = recovery_,
                      .holds = holds_,
                      .repairs = repairs_,
                      .conversions = conversions_,
                      .ender = ender_,
                      .purger = purger_,
                      .on_reclaimed = [this] { end_grace_if_known(); }}) {}

Master::~Master() = default;

Status Master::start() {
  started_ = runtime_.now();
  last_step_ = started_;
  TRY(const pb::Counters counters, state::queries::counters(tables_));
  if (counters.next_inode() == 0) {
    // The first command of an empty cluster: whatever is proposed later is applied after it.
    tasks_.spawn(make_cluster(this));
  } else {
    TRY_VOID(load());
    made_.set(Status());
  }
  events_.write("JRN", Severity::kInfo,
                fmt::format("MDS#{} at {} became master", options_.settings.mds_id.raw(),
                            options_.settings.address));
  tasks_.spawn(run_background(this));
  tasks_.spawn(EventWriter::run(&events_));
  tasks_.spawn(Purger::run(&purger_));
  tasks_.spawn(Repairs::run(&repairs_));
  tasks_.spawn(Conversions::run(&conversions_));
  return {};
}

Task<Status> Master::ready() {
  Status made = co_await made_.wait();
  ready_ = made.has_value();
  co_return made;
}

Task<void> Master::make_cluster(Master* self) {
  pb::Command command;
  command.mutable_init_cluster()->set_cluster_id(self->options_.settings.cluster_id.raw());
  command.mutable_init_cluster()->set_name(self->options_.settings.cluster);
  const Result<pb::CommandReply> made = co_await self->commands_.run(std::move(command));
  if (made.has_value()) {
    self->events_.write("MDS", Severity::kInfo,
                        fmt::format("cluster {} was made", self->options_.settings.cluster));
  }
  self->made_.set(made.has_value() ? Status() : Status(fail(made.error())));
}

Status Master::load() {
  TRY(const pb::ClusterRecord cluster, state::queries::cluster(tables_));
  if (cluster.cluster_id() != options_.settings.cluster_id.raw()) {
    return fail(Code::kCorrupt,
                fmt::format("the tables belong to cluster {:016x}, the repository to {:016x}",
                            cluster.cluster_id(), options_.settings.cluster_id.raw()));
  }
  TRY(std::vector<pb::CsRecord> servers, state::queries::chunk_servers(tables_));
  for (pb::CsRecord& record : servers) {
    const std::uint32_t id = record.id();
    cs_board_.put(std::move(record), started_);
    cs_board_.find(id)->reported = CsState::kActive;  // until it is missed, nothing has changed
  }
  TRY(std::vector<pb::SessionRecord> sessions, state::queries::sessions(tables_));
  for (pb::SessionRecord& record : sessions) {
    const SessionId id = SessionId::from_raw(record.id());
    const bool ending = record.ending();
    const std::uint32_t converter = record.request().converter();
    sessions_.put(std::move(record), !ending, started_);
    if (converter != 0 && !ending) conversions_.opened(id, converter, true);
    if (ending) ender_.go_on(id);
  }
  grace_ = sessions_.any_expected();
  if (grace_) leases_.withhold_exclusive(true);
  return {};
}

void Master::end_grace_if_known() {
  if (!grace_ || sessions_.any_expected()) return;
  grace_ = false;
  leases_.withhold_exclusive(false);
  purger_.poke();
}

void Master::session_ended(const Session& gone, const std::string& reason) {
  const pb::OpenSession& opened = gone.record.request();
  if (opened.converter() != 0) {
    // Chunk servers come and go with the work: that is no news of a mount.
    env_.log.info("session {} of the converter of CS#{} ended: {}", gone.record.id(),
                  opened.converter(), reason);
    conversions_.ended(SessionId::from_raw(gone.record.id()));
  } else {
    events_.write("CLN", Severity::kInfo,
                  fmt::format("session {} of client {} at {} ended: {}", gone.record.id(),
                              gone.record.client_id(), opened.host(), reason));
  }
  end_grace_if_known();
  purger_.poke();
}

// A shadow is without a name from its birth: its pin follows a moment later, its lease is there at
// once.
bool Master::may_purge(InodeId inode) const {
  if (grace_ || pins_.pinned(inode)) return false;
  const Result<pb::InodeRecord> record = state::queries::inode(tables_, inode);
  return !record.has_value() || record->shadow_of() == 0 || record->lease_session() == 0;
}

void Master::accept(std::unique_ptr<net::Stream> stream) {
  if (stopping_) {
    stream->close();
    return;
  }
  doors_.spawn(serve_client(this, std::move(stream)));
}

Task<void> Master::serve_client(Master* self, std::unique_ptr<net::Stream> stream) {
  const std::string peer = stream->peer();
  const std::shared_ptr<Connection> connection = std::make_shared<Connection>();
  net::Channel::Handler handler = [self, connection](std::uint16_t op, net::Payload request) {
    return self->clients_.serve(connection, op, std::move(request));
  };
  const Deadline deadline = self->runtime_.after(10s);
  // It is there until accept_channel() has ended.
  net::Stream* const greeting = stream.get();
  self->greeting_.insert(greeting);
  Result<std::unique_ptr<net::Channel>> made = co_await net::accept_channel(
      self->runtime_, std::move(stream), self->options_.settings.credentials, std::move(handler),
      deadline);
  self->greeting_.erase(greeting);
  if (!made.has_value()) {
    self->env_.log.warning("a client at {} was refused: {}", peer, made.error().to_string());
    co_return;
  }
  connection->channel = std::shared_ptr<net::Channel>(std::move(*made));
  if (self->stopping_) connection->channel->close();
  self->open_.insert(connection.get());
  co_await connection->channel->closed();
  self->open_.erase(connection.get());
  // The handler holds the connection, and the connection the channel that holds the handler.
  connection->channel.reset();
}

Task<void> Master::run_background(Master* self) {
  while (!self->stopping_) {
    co_await pause(self->env_, self->options_.settings.background_step);
    if (!self->stopping_) self->step(self->runtime_.now());
  }
}

void Master::step(Instant now) {
  const Duration expected = options_.settings.background_step;
  const Duration gap = now - last_step_ - expected;
  last_step_ = now;
  if (gap > expected * 2) {
    // Stopped (SIGSTOP, a suspended machine): what could not be heard proves nothing.
    env_.log.warning("this MDS stood still for {:.1f} s", static_cast<double>(gap.count()) * 1e-9);
    sessions_.forgive(gap);
    cs_board_.forgive(gap);
    leases_.forgive(gap);
  }
  for (const std::uint32_t cs : cs_board_.take_failures()) cs_failed(*cs_board_.find(cs));
  const std::vector<CsBoard::Change> changes = cs_board_.take_changes(now);
  for (const CsBoard::Change& change : changes) cs_changed(change, now);
  if (!changes.empty()) repairs_.servers_changed();
  repairs_.step(now);
  tell_cluster_state(now);
  purger_.step();
  scrubs_.step(now);
  conversions_.step(now);
  for (const SessionId id : sessions_.expired(now, options_.settings.lease)) {
    const pb::OpenSession& opened = sessions_.find(id)->record.request();
    const Duration silent = lease_of(opened, options_.settings.lease);
    ender_.begin(id, fmt::format("nothing was heard of it for {} s", silent / 1s), true);
  }
  end_grace_if_known();
}

void Master::cs_failed(const CsEntry& entry) {
  events_.write("MDS", Severity::kWarning,
                fmt::format("CS#{} has reported hard error on {} ({}): {}", entry.record.id(),
                            entry.repository.empty() ? "its repository" : entry.repository,
                            entry.failure.letter, entry.failure.why));
}

void Master::cs_changed(const CsBoard::Change& change, Instant now) {
  const CsEntry* entry = cs_board_.find(change.cs_id);
  if (!entry->failure.why.empty()) {
    events_.write("MDS", Severity::kWarning,
                  fmt::format("CS#{} at {} is {}", change.cs_id, entry->record.host(),
                              cs_state_text(change.after)));
  } else if (change.after == CsState::kActive) {
    events_.write("MDS", Severity::kInfo,
                  fmt::format("CS#{} at {} is active", change.cs_id, entry->record.host()));
  } else {
    events_.write(
        "MDS", Severity::kWarning,
        fmt::format("CS#{} has not registered during the last {} sec and is marked as {}",
                    change.cs_id, (now - entry->last_seen) / 1s, cs_state_text(change.after)));
  }
}

void Master::tell_cluster_state(Instant now) {
  if (cs_board_.all().empty() || cs_board_.awaits_news(now)) return;
  const CsBoard::Counts counts = cs_board_.counts(now);
  if (told_ == counts) return;
  told_ = counts;
  if (counts.inactive == 0 && counts.offline == 0) {
    events_.write("MDS", Severity::kInfo,
                  fmt::format("The cluster is healthy with {} active CS", counts.active));
  } else {
    events_.write("MDS", Severity::kWarning,
                  fmt::format("The cluster is degraded with {} active, {} inactive, {} offline CS",
                              counts.active, counts.inactive, counts.offline));
  }
}

Task<void> Master::stop() {
  stopping_ = true;
  commands_.close();
  for (net::Stream* stream : greeting_) stream->close();
  for (Connection* connection : open_) connection->channel->close();
  leases_.stop();
  ender_.stop();
  purger_.stop();
  holds_.stop();
  repairs_.stop();
  conversions_.stop();
  events_.stop();
  made_.set(Status(fail(Code::kCancelled, "the MDS is stopping")));
  co_await links_.stop();
  co_await repairs_.links_ended();
  co_await tasks_.join();
  co_await doors_.join();
  // What a task under way opened meanwhile.
  co_await links_.stop();
  co_await repairs_.links_ended();
}

}  // namespace cairn::mds::master
