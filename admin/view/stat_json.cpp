#include "admin/view/stat_json.h"

#include <nlohmann/json.hpp>

#include "admin/view/attributes.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

using Json = nlohmann::ordered_json;

// Text from other machines may hold bytes that are not UTF-8: they become U+FFFD.
std::string dumped(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json cluster_json(const pb::StatReply& reply) {
  Json json = {{"name", reply.cluster()},
               {"id", format_hex16(reply.cluster_id())},
               {"status", reply.status()},
               {"reasons", Json::array()},
               {"space_bytes", reply.space_bytes()},
               {"free_bytes", reply.free_bytes()},
               {"allocatable_bytes", reply.allocatable_bytes()},
               {"allocatable_space_bytes", reply.allocatable_space_bytes()},
               {"policy", attribute_lines(reply.root_policy())},
               {"files", reply.files()},
               {"inodes", reply.inodes()},
               {"file_bytes", reply.file_bytes()},
               {"chunk_count", reply.chunk_count()},
               {"epoch_uptime_ns", reply.epoch_uptime_ns()}};
  for (const std::string& reason : reply.reasons()) json["reasons"].push_back(reason);
  if (reply.has_chunks()) {
    const pb::ChunkStates& chunks = reply.chunks();
    json["chunks"] = {{"healthy", chunks.healthy()},
                      {"standby", chunks.standby()},
                      {"degraded", chunks.degraded()},
                      {"urgent", chunks.urgent()},
                      {"blocked", chunks.blocked()},
                      {"pending", chunks.pending()},
                      {"offline", chunks.offline()},
                      {"replicating", chunks.replicating()},
                      {"overcommitted", chunks.overcommitted()},
                      {"deleting", chunks.deleting()},
                      {"void", chunks.void_()}};
  }
  const pb::RepairStat& repair = reply.repair();
  json["repair"] = {{"under_way", repair.under_way()},
                    {"waiting", repair.waiting()},
                    {"pieces", repair.pieces()},
                    {"bytes_read", repair.bytes_read()},
                    {"bytes_written", repair.bytes_written()},
                    {"longest_hold_ns", repair.longest_hold_us() * 1000},
                    {"why", repair.why()}};
  return json;
}

Json mds_json(const pb::MdsStat& mds) {
  return {{"id", mds.id()},
          {"master", mds.master()},
          {"role", mds.role()},
          {"status", mds.status()},
          {"ctime", mds.ctime()},
          {"commits_per_s", mds.commits_per_s()},
          {"cpu", mds.cpu()},
          {"memory_bytes", mds.memory_bytes()},
          {"uptime_ns", mds.uptime_ns()},
          {"host", mds.host()},
          {"address", mds.address()},
          {"applied_slot", mds.applied_slot()},
          {"lag", mds.lag()},
          {"flushes", mds.flushes()},
          {"repository", mds.repository()},
          {"version", mds.version()}};
}

Json scrub_json(const pb::ScrubProgress& scrub) {
  return {{"pieces_verified", scrub.pieces_verified()},
          {"pieces_total", scrub.pieces_total()},
          {"round_ns", scrub.round_ns()},
          {"last_round_ns_ago", scrub.last_round_ns_ago()},
          {"blocks_verified", scrub.blocks_verified()},
          {"damaged_found", scrub.damaged_found()}};
}

// `counted`: the chunks were, else nothing is known of the unique ones.
Json cs_json(const pb::CsStat& cs, bool counted) {
  const pb::CsStatistics& statistics = cs.statistics();
  return {{"id", cs.id()},
          {"status", cs.status()},
          {"tier", cs.tier()},
          {"host_id", format_hex16(cs.host_id())},
          {"host", cs.host()},
          {"address", cs.address()},
          {"space_bytes", statistics.space_bytes()},
          {"free_bytes", statistics.free_bytes()},
          {"used_bytes", statistics.used_bytes()},
          {"pieces", statistics.pieces()},
          {"pieces_mapped", cs.pieces_mapped()},
          {"pieces_written", counted ? Json(cs.pieces_written()) : Json()},
          {"pieces_unique", counted ? Json(cs.pieces_unique()) : Json()},
          {"bytes_read", statistics.bytes_read()},
          {"bytes_written", statistics.bytes_written()},
          {"reads", statistics.reads()},
          {"writes", statistics.writes()},
          {"flushes", statistics.flushes()},
          {"read_bytes_per_s", cs.read_bytes_per_s()},
          {"write_bytes_per_s", cs.write_bytes_per_s()},
          {"io_wait", statistics.io_wait()},
          {"io_latency_avg_ns", statistics.io_latency_avg_us() * 1000},
          {"io_latency_max_ns", statistics.io_latency_max_us() * 1000},
          {"queue_depth", statistics.queue_depth()},
          {"checksum_errors", statistics.checksum_errors()},
          {"flags", statistics.flags()},
          {"trouble", cs.trouble()},
          {"engine", statistics.engine()},
          {"rmw", statistics.rmw()},
          {"jrmw", statistics.jrmw()},
          {"damaged_blocks", statistics.damaged_blocks()},
          {"healed_blocks", statistics.healed_blocks()},
          {"io_errors", statistics.io_errors()},
          {"journal_bytes", statistics.journal_bytes()},
          {"journal_backlog_bytes", statistics.journal_backlog_bytes()},
          {"journal_place", statistics.journal_place()},
          {"scrub", scrub_json(statistics.scrub())},
          {"last_seen_ns_ago", cs.last_seen_ns_ago()},
          {"failure", cs.failure()},
          {"repository", cs.repository()},
          {"version", cs.version()}};
}

Json client_json(const pb::ClientStat& client) {
  return {{"id", client.id()},
          {"session", client.session()},
          {"connected", client.connected()},
          {"host", client.host()},
          {"mount_point", client.mount_point()},
          {"process", client.process()},
          {"leases_shared", client.leases_shared()},
          {"leases_exclusive", client.leases_exclusive()},
          {"read_bytes_per_s", client.read_bytes_per_s()},
          {"write_bytes_per_s", client.write_bytes_per_s()},
          {"reads_per_s", client.reads_per_s()},
          {"writes_per_s", client.writes_per_s()},
          {"fsyncs_per_s", client.fsyncs_per_s()},
          {"waiting_writes", client.waiting_writes()}};
}

Json conversions_json(const pb::ConversionStat& stat) {
  Json json = {{"waiting", stat.waiting()},
               {"under_way", stat.under_way()},
               {"converted", stat.converted()},
               {"bytes_converted", stat.bytes_converted()},
               {"bytes_per_s", stat.bytes_per_second()},
               {"paused", stat.paused()},
               {"files", Json::array()}};
  for (const pb::ConversionStat::File& file : stat.files()) {
    json["files"].push_back({{"inode", file.inode()},
                             {"path", file.path()},
                             {"to", encoding_attribute(file.to())},
                             {"bytes_done", file.bytes_done()},
                             {"bytes_total", file.bytes_total()},
                             {"worker", file.worker()},
                             {"trouble", file.trouble()}});
  }
  return json;
}

Json event_list(const google::protobuf::RepeatedPtrField<pb::Event>& events) {
  Json list = Json::array();
  for (const pb::Event& event : events) {
    list.push_back({{"id", event.id()},
                    {"time", format_time_iso(event.time_ns())},
                    {"time_ns", event.time_ns()},
                    {"subsystem", event.subsystem()},
                    {"severity", event.severity()},
                    {"message", event.message()}});
  }
  return list;
}

}  // namespace

std::string stat_json(const pb::StatReply& reply) {
  Json json = {{"schema", 1},
               {"cluster", cluster_json(reply)},
               {"mds", Json::array()},
               {"cs", Json::array()},
               {"clients", Json::array()},
               {"conversions", conversions_json(reply.conversions())},
               {"events", event_list(reply.events())}};
  for (const pb::MdsStat& mds : reply.mds()) json["mds"].push_back(mds_json(mds));
  for (const pb::CsStat& cs : reply.cs()) json["cs"].push_back(cs_json(cs, reply.has_chunks()));
  for (const pb::ClientStat& client : reply.clients()) {
    json["clients"].push_back(client_json(client));
  }
  return dumped(json);
}

std::string events_json(const google::protobuf::RepeatedPtrField<pb::Event>& events) {
  return dumped({{"schema", 1}, {"events", event_list(events)}});
}

}  // namespace cairn::admin
