#include "admin/view/stat_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "admin/view/attributes.h"
#include "admin/view/conversion_text.h"
#include "admin/view/stat_cs.h"
#include "admin/view/table.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

// Documented thresholds: a warning below 20 % or 1 GiB allocatable.
std::string_view space_mark(const pb::StatReply& reply) {
  if (reply.allocatable_bytes() == 0) return "[ERR]";
  const bool low = reply.allocatable_bytes() < reply.allocatable_space_bytes() / 5 ||
                   reply.allocatable_bytes() < 1_GiB;
  return low ? "[WARN]" : "[OK]";
}

std::string replication_line(const pb::Encoding& encoding) {
  if (encoding.data() > 1) {
    return fmt::format("Replication: {}+{} encoding, {} limit\n", encoding.data(),
                       encoding.parity(), encoding.min());
  }
  return fmt::format("Replication: {} norm, {} limit\n", encoding.data() + encoding.parity(),
                     encoding.min());
}

std::string chunks_line(const pb::ChunkStates& chunks) {
  const bool bad = chunks.offline() + chunks.blocked() + chunks.pending() != 0;
  const bool warn =
      chunks.degraded() + chunks.urgent() + chunks.standby() + chunks.replicating() != 0;
  return fmt::format(
      "Chunks: {} {} healthy, {} standby, {} degraded, {} urgent,\n"
      "        {} blocked, {} pending, {} offline, {} replicating,\n"
      "        {} overcommitted, {} deleting, {} void\n",
      bad    ? "[ERR]"
      : warn ? "[WARN]"
             : "[OK]",
      chunks.healthy(), chunks.standby(), chunks.degraded(), chunks.urgent(), chunks.blocked(),
      chunks.pending(), chunks.offline(), chunks.replicating(), chunks.overcommitted(),
      chunks.deleting(), chunks.void_());
}

// Only when there is something to tell.
std::string repair_line(const pb::RepairStat& repair) {
  if (repair.under_way() + repair.waiting() + repair.pieces() == 0) return {};
  return fmt::format(
      "Repair: {} chunks under way, {} wait; {} pieces repaired, {} copied, writes waited {} ms at "
      "most\n",
      repair.under_way(), repair.waiting(), repair.pieces(), format_size(repair.bytes_written()),
      (repair.longest_hold_us() + 999) / 1000);
}

std::string header(const pb::StatReply& reply) {
  std::string text = fmt::format("Cluster '{}': {}\n", reply.cluster(), reply.status());
  for (const std::string& reason : reply.reasons()) text += "  " + reason + "\n";
  text += fmt::format("Space: {} allocatable {} of {}, free {} of {}\n", space_mark(reply),
                      format_size(reply.allocatable_bytes()),
                      format_size(reply.allocatable_space_bytes()), format_size(reply.free_bytes()),
                      format_size(reply.space_bytes()));
  const auto available = std::ranges::count(reply.mds(), "avail", &pb::MdsStat::status);
  text += fmt::format("MDS nodes: {} of {}, epoch uptime: {}\n", available, reply.mds_size(),
                      format_duration(reply.epoch_uptime_ns()));
  const auto active = std::ranges::count(reply.cs(), "active", &pb::CsStat::status);
  const auto inactive = std::ranges::count(reply.cs(), "inactive", &pb::CsStat::status);
  const auto offline = std::ranges::count(reply.cs(), "offline", &pb::CsStat::status);
  text += fmt::format("CS nodes: {} of {} ({} avail, {} inactive, {} offline)\n", active,
                      reply.cs_size(), active, inactive, offline);
  text += replication_line(reply.root_policy().encoding());
  if (reply.has_chunks()) text += chunks_line(reply.chunks());
  text += repair_line(reply.repair());
  text += conversion_line(reply.conversions());
  text += fmt::format("FS: {} in {} files, {} inodes, {} chunks\n", format_size(reply.file_bytes()),
                      reply.files(), reply.inodes(), reply.chunk_count());
  double read = 0;
  double write = 0;
  double reads = 0;
  double writes = 0;
  for (const pb::ClientStat& client : reply.clients()) {
    read += client.read_bytes_per_s();
    write += client.write_bytes_per_s();
    reads += client.reads_per_s();
    writes += client.writes_per_s();
  }
  text += fmt::format("IO: read {} ({}), write {} ({})\n", format_rate(read),
                      format_operations(reads), format_rate(write), format_operations(writes));
  return text;
}

char mds_mark(const pb::MdsStat& mds) {
  if (mds.master()) return 'M';
  return mds.role() == "learner" ? 'L' : ' ';
}

// One that is cut off tells nothing of itself: a dash, never a 0 for what is unknown.
bool tells_nothing(const pb::MdsStat& mds) {
  return mds.status() == "unavail" || (mds.memory_bytes() == 0 && mds.uptime_ns() == 0);
}

// Below this a follower is merely under load; above it the events say "lags behind".
constexpr std::uint64_t kLagShown = 1000;

std::string mds_remark(const pb::MdsStat& mds) {
  const bool learner = mds.role() == "learner";
  if (!learner && mds.lag() <= kLagShown) return {};
  std::string text = fmt::format("MDS {}: ", mds.id());
  if (learner) text += "has no vote yet, it gets one by itself when it has caught up; ";
  return text + fmt::format("{} rounds behind\n", mds.lag());
}

std::string mds_table(const pb::StatReply& reply) {
  Table table({"MDSID", "STATUS", "%CTIME", "COMMITS", "%CPU", "MEM", "UPTIME", "HOST"});
  for (const pb::MdsStat& mds : reply.mds()) {
    const bool unknown = tells_nothing(mds);
    const auto known = [unknown](std::string text) { return unknown ? "-" : std::move(text); };
    table.add({fmt::format("{} {:>3}", mds_mark(mds), mds.id()), mds.status(),
               known(format_percent(mds.ctime())),
               known(fmt::format("{:.0f}/s", mds.commits_per_s())),
               known(format_percent(mds.cpu())), known(format_size(mds.memory_bytes())),
               known(format_duration(mds.uptime_ns())),
               mds.host().empty() ? mds.address() : mds.host() + " " + mds.address()});
  }
  std::string text = table.to_string();
  for (const pb::MdsStat& mds : reply.mds()) text += mds_remark(mds);
  return text;
}

std::string client_table(const pb::StatReply& reply) {
  Table table({"CLID", "LEASES", "READ", "WRITE", "RD_OPS", "WR_OPS", "FSYNCS", "WAITING", "HOST",
               "MOUNT"});
  for (const pb::ClientStat& client : reply.clients()) {
    table.add({std::to_string(client.id()),
               fmt::format("{}/{}", client.leases_shared(), client.leases_exclusive()),
               format_rate(client.read_bytes_per_s()), format_rate(client.write_bytes_per_s()),
               format_operations(client.reads_per_s()), format_operations(client.writes_per_s()),
               format_operations(client.fsyncs_per_s()), std::to_string(client.waiting_writes()),
               client.host() + (client.connected() ? "" : " (not connected)"),
               client.mount_point()});
  }
  return table.to_string();
}

}  // namespace

std::string events_text(const google::protobuf::RepeatedPtrField<pb::Event>& events) {
  std::string text = fmt::format("{:<19}  SYS  SEV  MESSAGE\n", "TIME");
  for (const pb::Event& event : events) {
    text += fmt::format("{:<19}  {:<3}  {:<3}  {}\n", format_time(event.time_ns()),
                        event.subsystem(), event.severity(), event.message());
  }
  return text;
}

std::string stat_text(const pb::StatReply& reply, bool verbose) {
  std::string text = header(reply);
  text += "\n" + mds_table(reply);
  text += "\n" + cs_table(reply);
  if (verbose) text += "\n" + cs_details(reply);
  text += "\n" + client_table(reply);
  const std::string conversions = conversion_table(reply.conversions());
  if (!conversions.empty()) text += "\n" + conversions;
  text += "\n" + events_text(reply.events());
  return text;
}

}  // namespace cairn::admin
