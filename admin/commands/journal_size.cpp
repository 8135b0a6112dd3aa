#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "admin/commands/drive_commands.h"

namespace cairn::admin {
namespace {

constexpr std::uint64_t kMbPerGb = 1024;  // as make-cs -s counts: 30720 MB are 30 GB

std::string to_json(const JournalSizing& sizing) {
  const nlohmann::ordered_json json = {
      {"schema", 1},
      {"hdds_per_ssd", sizing.hdds_per_ssd},
      {"ssds", sizing.ssds},
      {"hdds_shared", sizing.hdds_shared},
      {"journal_gb", sizing.journal_gb},
      {"journal_mb", sizing.journal_gb * kMbPerGb},
      {"checksums_fit", sizing.checksums_fit},
  };
  return json.dump(2) + "\n";
}

}  // namespace

Outcome<Output> journal_size(const Globals& globals, const JournalDrives& drives) {
  const Result<JournalSizing> sizing = size_journals(drives);
  if (!sizing.has_value()) return failure("cannot size journals", sizing.error());
  Output output;
  if (!sizing->checksums_fit) {
    output.warnings.push_back(
        fmt::format("checksums of {} HDDs take {:.0f} GB, more than the reserved fifth of the SSD",
                    sizing->hdds_shared, sizing->checksum_gb));
  }
  if (globals.json) {
    output.text = to_json(*sizing);
    return output;
  }
  output.text =
      fmt::format("One such SSD serves up to {} such HDDs ({:g} MB/s * 0.8 / {:g} MB/s).\n",
                  sizing->hdds_per_ssd, drives.ssd_mb_per_s, drives.hdd_mb_per_s);
  if (sizing->ssds > 1) {
    output.text += fmt::format("For {} HDDs take {} SSDs.\n", drives.hdds, sizing->ssds);
  }
  output.text += fmt::format(
      "Journal of each HDD: {} GB ({:g} GB - 20 %, divided by {}).\n"
      "Make it:  cairn make-cs -r DIR -j SSD_DIR -s {} -T ssd\n",
      sizing->journal_gb, drives.ssd_gb, sizing->hdds_shared, sizing->journal_gb * kMbPerGb);
  return output;
}

}  // namespace cairn::admin
