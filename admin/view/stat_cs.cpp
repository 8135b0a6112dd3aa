#include "admin/view/stat_cs.h"

#include <fmt/format.h>

#include "admin/view/cs_flags.h"
#include "admin/view/table.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

std::string journal_place(const pb::CsStatistics& statistics) {
  if (statistics.journal_bytes() == 0) return "-";
  return statistics.journal_place().empty() ? "repository" : statistics.journal_place();
}

// Where the round is: "120/4000 (3.0%)".
std::string coverage(const pb::ScrubProgress& scrub) {
  if (scrub.pieces_total() == 0) return "-";
  return fmt::format("{}/{} ({})", scrub.pieces_verified(), scrub.pieces_total(),
                     format_percent(static_cast<double>(scrub.pieces_verified()) /
                                    static_cast<double>(scrub.pieces_total())));
}

std::string last_round(const pb::ScrubProgress& scrub) {
  if (scrub.last_round_ns_ago() <= 0) return "never";
  std::string age = format_duration(static_cast<std::uint64_t>(scrub.last_round_ns_ago()));
  age.erase(0, age.find_first_not_of(' '));
  return age + " ago";
}

// Of the chunk map, else what the CS itself counted.
std::uint64_t replicas(const pb::StatReply& reply, const pb::CsStat& cs) {
  return reply.has_chunks() ? cs.pieces_written() : cs.statistics().pieces();
}

std::string dash_if_empty(const std::string& text) { return text.empty() ? "-" : text; }

}  // namespace

std::string cs_table(const pb::StatReply& reply) {
  Table table({"CSID", "STATUS", "SPACE", "AVAIL", "REPLICAS", "UNIQUE", "IOWAIT", "IOLAT(ms)",
               "QDEPTH", "HOST", "FLAGS", "TIER", "BUILD_VERSION"});
  for (const pb::CsStat& cs : reply.cs()) {
    const pb::CsStatistics& statistics = cs.statistics();
    table.add({std::to_string(cs.id()), cs.status(), format_size(statistics.space_bytes()),
               format_size(statistics.free_bytes()), std::to_string(replicas(reply, cs)),
               reply.has_chunks() ? std::to_string(cs.pieces_unique()) : "-",
               fmt::format("{:.0f}%", statistics.io_wait() * 100),
               fmt::format("{}/{}", statistics.io_latency_avg_us() / 1000,
                           statistics.io_latency_max_us() / 1000),
               fmt::format("{:.1f}", statistics.queue_depth()),
               cs.address().empty() ? cs.host() : cs.host() + " " + cs.address(), cs_flags(cs),
               std::to_string(cs.tier()), dash_if_empty(cs.version())});
  }
  std::string text = table.to_string();
  for (const pb::CsStat& cs : reply.cs()) {
    if (cs.failure().empty()) continue;
    const std::string where = cs.repository().empty() ? "" : " at " + cs.repository();
    text += fmt::format("CS {}{}: {}\n", cs.id(), where, cs.failure());
  }
  return text + trouble_legend(reply.cs());
}

std::string cs_details(const pb::StatReply& reply) {
  Table table({"CSID", "ENGINE", "RMW", "JRMW", "DAMAGED", "HEALED", "IO_ERRORS", "SCRUBBED",
               "LAST_SCRUB", "JOURNAL", "BACKLOG", "JOURNAL_AT"});
  for (const pb::CsStat& cs : reply.cs()) {
    const pb::CsStatistics& statistics = cs.statistics();
    const bool journal = statistics.journal_bytes() != 0;
    table.add({std::to_string(cs.id()), dash_if_empty(statistics.engine()),
               std::to_string(statistics.rmw()), std::to_string(statistics.jrmw()),
               std::to_string(statistics.damaged_blocks()),
               std::to_string(statistics.healed_blocks()), std::to_string(statistics.io_errors()),
               coverage(statistics.scrub()), last_round(statistics.scrub()),
               journal ? format_size(statistics.journal_bytes()) : "-",
               journal ? format_size(statistics.journal_backlog_bytes()) : "-",
               journal_place(statistics)});
  }
  return table.to_string();
}

}  // namespace cairn::admin
