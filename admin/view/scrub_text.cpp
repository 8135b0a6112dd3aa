#include "admin/view/scrub_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "admin/view/table.h"
#include "admin/view/units.h"
#include "common/base/units.h"

namespace cairn::admin {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kExitDamage = 1;
constexpr int kExitPartly = 8;

std::string_view state_of(const pb::ScrubReply& scrub) {
  if (!scrub.done()) return scrub.walking() ? "looking for pieces" : "running";
  return scrub.failure().empty() ? "done" : "ended early";
}

std::string blocks(std::uint64_t count) {
  return fmt::format("{} {}", count, count == 1 ? "block" : "blocks");
}

std::string conclusion(const pb::ScrubReply& scrub) {
  if (!scrub.done()) return {};
  if (scrub.damaged() != 0) {
    return "The damaged blocks are written anew from the other pieces; see the chunk servers:\n"
           "  cairn stat -v\n"
           "Which file an inode is:  find MOUNT -inum INODE\n";
  }
  if (scrub.unreachable() != 0 || !scrub.failure().empty()) {
    return "No damage was found in what could be verified. Repeat it when all chunk servers are "
           "back.\n";
  }
  return scrub.pieces() == 0 ? "Nothing is stored there.\n" : "No damage was found.\n";
}

Json json_of(const pb::ScrubReply& scrub) {
  Json json = {{"job", scrub.job()},
               {"target", scrub.target()},
               {"state", state_of(scrub)},
               {"done", scrub.done()},
               {"pieces", scrub.pieces()},
               {"verified", scrub.verified()},
               {"unreachable", scrub.unreachable()},
               {"blocks", scrub.blocks()},
               {"damaged_blocks", scrub.damaged()},
               {"failure", scrub.failure()},
               {"findings_total", scrub.findings_total()},
               {"findings", Json::array()}};
  for (const std::string& finding : scrub.findings()) json["findings"].push_back(finding);
  return json;
}

std::string dumped(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string scrub_progress(const pb::ScrubReply& scrub) {
  const std::uint64_t over = scrub.verified() + scrub.unreachable();
  // While pieces are still being looked for, a share of them means nothing.
  const std::string share =
      scrub.walking() || scrub.pieces() == 0
          ? std::string()
          : " (" + format_percent(static_cast<double>(over) / static_cast<double>(scrub.pieces())) +
                ")";
  return fmt::format("{} of {}{} pieces verified{}, {} damaged", scrub.verified(), scrub.pieces(),
                     scrub.walking() ? " or more" : "", share, blocks(scrub.damaged()));
}

std::string scrub_text(const pb::ScrubReply& scrub) {
  std::string text =
      fmt::format("Scrub {} of '{}': {}\n", scrub.job(), scrub.target(), state_of(scrub));
  if (!scrub.failure().empty()) text += "  " + scrub.failure() + "\n";
  text += fmt::format("Pieces: {}, {} verified, {} could not be\n", scrub.pieces(),
                      scrub.verified(), scrub.unreachable());
  text += fmt::format("Blocks: {} ({}), {} damaged\n", scrub.blocks(),
                      format_size(scrub.blocks() * kBlockBytes), scrub.damaged());
  for (const std::string& finding : scrub.findings()) text += "  " + finding + "\n";
  const auto shown = static_cast<std::uint64_t>(scrub.findings_size());
  if (scrub.findings_total() > shown) {
    text += fmt::format("  and {} more\n", scrub.findings_total() - shown);
  }
  return text + conclusion(scrub);
}

std::string scrub_json(const pb::ScrubReply& scrub) {
  Json json = {{"schema", 1}};
  json.update(json_of(scrub));
  return dumped(json);
}

std::string scrub_list(const std::vector<pb::ScrubReply>& scrubs) {
  if (scrubs.empty()) return "No scrub was asked for since this MDS became the master.\n";
  Table table({"JOB", "STATE", "PIECES", "VERIFIED", "UNREACHABLE", "DAMAGED", "TARGET"});
  for (const pb::ScrubReply& scrub : scrubs) {
    table.add({std::to_string(scrub.job()), std::string(state_of(scrub)),
               std::to_string(scrub.pieces()), std::to_string(scrub.verified()),
               std::to_string(scrub.unreachable()), blocks(scrub.damaged()), scrub.target()});
  }
  return table.to_string();
}

std::string scrub_list_json(const std::vector<pb::ScrubReply>& scrubs) {
  Json json = {{"schema", 1}, {"scrubs", Json::array()}};
  for (const pb::ScrubReply& scrub : scrubs) json["scrubs"].push_back(json_of(scrub));
  return dumped(json);
}

int scrub_exit_code(const pb::ScrubReply& scrub) {
  if (scrub.damaged() != 0) return kExitDamage;
  if (!scrub.done()) return 0;
  return scrub.unreachable() != 0 || !scrub.failure().empty() ? kExitPartly : 0;
}

}  // namespace cairn::admin
