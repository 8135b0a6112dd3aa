// stat: the whole cluster in one answer, and in sentences why it is not healthy.
#include <algorithm>

#include "mds/placement/capacity.h"
#include "mds/service/admin_service.h"
#include "mds/service/health_report.h"
#include "mds/state/machine.h"

namespace cairn::mds::service {

namespace {
constexpr std::size_t kEventsShown = 20;

void fill_repairs(const master::Repairs::Progress& repairs, pb::StatReply* reply) {
  pb::RepairStat* stat = reply->mutable_repair();
  stat->set_under_way(repairs.under_way);
  stat->set_waiting(repairs.waiting);
  stat->set_pieces(repairs.pieces);
  stat->set_bytes_read(repairs.bytes_read);
  stat->set_bytes_written(repairs.bytes_written);
  stat->set_longest_hold_us(static_cast<std::uint64_t>(repairs.longest_hold / 1us));
  stat->set_why(repairs.why);
}

}  // namespace

Task<Result<pb::StatReply>> AdminService::stat(AdminService* self, pb::StatRequest request) {
  pb::StatReply reply;
  Census census;
  if (request.chunks()) {
    Result<Census> taken = co_await self->master_.census().take();
    if (!taken.has_value()) co_return fail(std::move(taken).error());
    census = std::move(*taken);
    *reply.mutable_chunks() = census->states;
  }
  CO_TRY_VOID(self->fill_tables(&reply));
  self->members_.fill(&reply);
  const Instant now = self->master_.environment().runtime.now();
  reply.set_epoch_uptime_ns(static_cast<std::uint64_t>((now - self->master_.started()).count()));
  CO_TRY_VOID(self->fill_cs(census, &reply));
  self->fill_clients(&reply);
  CO_TRY_VOID(self->fill_events(&reply));
  const master::Repairs::Progress repairs = self->master_.repairs().progress();
  fill_repairs(repairs, &reply);
  CO_TRY(*reply.mutable_conversions(), self->master_.conversions().stat());
  report_health(self->master_.cs_board(), census.get(), repairs, now, self->master_.in_grace(),
                &reply);
  co_return reply;
}

Status AdminService::fill_tables(pb::StatReply* reply) const {
  const master::Environment& env = master_.environment();
  TRY(const pb::Counters counters, state::queries::counters(env.tables));
  TRY(const pb::InodeRecord root, state::queries::inode(env.tables, kRootInode));
  reply->set_cluster(env.settings.cluster);
  reply->set_cluster_id(env.settings.cluster_id.raw());
  *reply->mutable_root_policy() = root.policy();
  reply->set_files(counters.files());
  reply->set_inodes(counters.inodes());
  reply->set_file_bytes(counters.file_bytes());
  reply->set_chunk_count(counters.chunks());
  return {};
}

Status AdminService::fill_cs(const Census& census, pb::StatReply* reply) const {
  const master::Environment& env = master_.environment();
  const Instant now = env.runtime.now();
  std::uint64_t space = 0;
  std::uint64_t unused = 0;
  for (const auto& [id, entry] : master_.cs_board().all()) {
    const master::CsState state = master_.cs_board().state(entry, now);
    pb::CsStat* cs = reply->add_cs();
    cs->set_id(id);
    cs->set_status(std::string(master::cs_state_text(state)));
    cs->set_tier(entry.record.tier());
    cs->set_host_id(entry.record.host_id());
    cs->set_host(entry.record.host());
    cs->set_address(entry.record.address());
    *cs->mutable_statistics() = entry.statistics;
    if (entry.statistics.engine().empty()) cs->mutable_statistics()->set_engine(entry.engine);
    TRY(const std::uint64_t mapped, state::queries::pieces_on(env.tables, NodeId::from_raw(id)));
    cs->set_pieces_mapped(mapped);
    if (census != nullptr) {
      const auto counted = census->by_cs.find(id);
      if (counted != census->by_cs.end()) {
        cs->set_pieces_unique(counted->second.unique);
        cs->set_pieces_written(counted->second.written);
      }
    }
    cs->set_version(entry.version);
    cs->set_repository(entry.repository);
    cs->set_last_seen_ns_ago((now - entry.last_seen).count());
    cs->set_failure(entry.failure.why);
    if (entry.failure.letter != '\0') cs->set_trouble(std::string(1, entry.failure.letter));
    cs->set_read_bytes_per_s(entry.rates.per_second(now, 0));
    cs->set_write_bytes_per_s(entry.rates.per_second(now, 1));
    if (state == master::CsState::kOffline) continue;
    space += entry.statistics.space_bytes();
    unused += entry.statistics.free_bytes();
  }
  reply->set_space_bytes(space);
  reply->set_free_bytes(unused);
  fill_allocatable(reply);
  return {};
}

// As file data under the root's encoding, beyond what placement keeps in reserve.
void AdminService::fill_allocatable(pb::StatReply* reply) const {
  std::vector<placement::Room> unused;
  std::vector<placement::Room> whole;
  for (const placement::Candidate& cs :
       master_.cs_board().candidates(master_.environment().runtime.now())) {
    if (!cs.active) continue;
    const ByteCount reserve = placement::reserve_bytes(cs.space_bytes);
    unused.push_back({cs.cs, cs.host, cs.free_bytes > reserve ? cs.free_bytes - reserve : 0});
    whole.push_back({cs.cs, cs.host, cs.space_bytes});
  }
  const pb::Policy& policy = reply->root_policy();
  const placement::Shape shape{
      .data = std::max(1U, policy.encoding().data()),
      .pieces = std::max(1U, policy.encoding().data() + policy.encoding().parity()),
      .min = policy.encoding().min(),
      .domain = policy.failure_domain() == pb::DOMAIN_DISK ? placement::Domain::kDisk
                                                           : placement::Domain::kHost};
  reply->set_allocatable_bytes(placement::allocatable_bytes(unused, shape));
  reply->set_allocatable_space_bytes(placement::allocatable_bytes(whole, shape));
}

void AdminService::fill_clients(pb::StatReply* reply) const {
  using master::Session;
  const master::Environment& env = master_.environment();
  const Instant now = env.runtime.now();
  for (const auto& [id, session] : master_.sessions().all()) {
    // No mount: the conversions tell of it.
    if (session.record.request().converter() != 0) continue;
    pb::ClientStat* client = reply->add_clients();
    client->set_id(session.record.client_id());
    client->set_session(id.raw());
    client->set_host(session.record.request().host());
    client->set_mount_point(session.record.request().mount_point());
    client->set_leases_shared(master_.leases().core().shared_count(id));
    const Result<std::vector<InodeId>> exclusive = state::queries::exclusive_leases(env.tables, id);
    client->set_leases_exclusive(exclusive.has_value() ? exclusive->size() : 0);
    client->set_read_bytes_per_s(session.rates.per_second(now, Session::kBytesRead));
    client->set_write_bytes_per_s(session.rates.per_second(now, Session::kBytesWritten));
    client->set_reads_per_s(session.rates.per_second(now, Session::kReads));
    client->set_writes_per_s(session.rates.per_second(now, Session::kWrites));
    client->set_fsyncs_per_s(session.rates.per_second(now, Session::kFsyncs));
    client->set_waiting_writes(session.waiting_writes);
    client->set_process(session.record.request().process());
    client->set_connected(session.channel() != nullptr);
  }
}

Status AdminService::fill_events(pb::StatReply* reply) const {
  TRY(const std::vector<pb::Event> last,
      state::queries::last_events(master_.environment().tables, kEventsShown));
  for (const pb::Event& event : last) *reply->add_events() = event;
  return {};
}

}  // namespace cairn::mds::service
