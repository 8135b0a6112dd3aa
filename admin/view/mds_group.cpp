#include "admin/view/mds_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "admin/view/table.h"

namespace cairn::admin {
namespace {

std::string_view word(MdsVerdict::Kind kind) {
  switch (kind) {
    case MdsVerdict::Kind::kAllAgree:
      return "agree";
    case MdsVerdict::Kind::kSomeSilent:
      return "incomplete";
    case MdsVerdict::Kind::kDiffer:
      return "differ";
  }
  return "";
}

std::string_view word(const MdsVerdict& verdict, const pb::CheckMdsReply::One& one) {
  if (!one.failure().empty()) return "unknown";
  if (!verdict.reference_known) return "differs";
  return one.digest() == verdict.reference ? "OK" : "DIFFERS";
}

// The last words of a chain of errors are the system's own: "...: Connection refused".
std::string short_reason(const std::string& failure) {
  const std::size_t colon = failure.rfind(": ");
  return "no digest: " + (colon == std::string::npos ? failure : failure.substr(colon + 2));
}

std::string conclusion(const MdsVerdict& verdict, const pb::CheckMdsReply& reply) {
  if (verdict.kind == MdsVerdict::Kind::kAllAgree) {
    return reply.mds_size() == 1 ? "One MDS: there is nothing to compare it with.\n"
                                 : fmt::format("All {} MDS agree.\n", reply.mds_size());
  }
  if (verdict.kind == MdsVerdict::Kind::kSomeSilent) {
    return "Those that answered agree. Start the others, or wait for them, and repeat.\n";
  }
  if (!verdict.reference_known) {
    return "The MDS differ and no digest has a majority: keep a copy of every repository and\n"
           "report it before anything is removed.\n";
  }
  std::string text = "Keep a copy of the repository that differs and report it; then replace it:\n";
  for (const pb::CheckMdsReply::One& one : reply.mds()) {
    if (word(verdict, one) == "DIFFERS") {
      text +=
          fmt::format("  cairn rm-mds {}, and make-mds with an empty directory\n", one.mds_id());
    }
  }
  return text;
}

}  // namespace

std::string group_size_advice(std::size_t members) {
  const std::size_t losses = members == 0 ? 0 : (members - 1) / 2;
  if (members == 1) return "One MDS: the cluster stops with it; make two more.";
  if (members == 2) return "2 MDS: the cluster stops when either fails; make one more.";
  std::string text = fmt::format("{} MDS: the cluster survives the loss of {}", members, losses);
  if (members % 2 == 0) {
    return text + fmt::format(", no more than with {}; make one more or remove one.", members - 1);
  }
  return text + ".";
}

MdsVerdict judge(const pb::CheckMdsReply& reply) {
  MdsVerdict verdict;
  std::map<std::uint32_t, int> counts;
  int answered = 0;
  for (const pb::CheckMdsReply::One& one : reply.mds()) {
    if (!one.failure().empty()) continue;
    ++counts[one.digest()];
    ++answered;
  }
  int best = 0;
  for (const auto& [digest, count] : counts) {
    if (count > best) {
      best = count;
      verdict.reference = digest;
    }
  }
  if (counts.size() > 1) {
    verdict.kind = MdsVerdict::Kind::kDiffer;
    verdict.reference_known = best * 2 > answered;
  } else if (answered != reply.mds_size() || answered == 0) {
    verdict.kind = MdsVerdict::Kind::kSomeSilent;
    verdict.reference_known = answered != 0;
  }
  return verdict;
}

std::string mds_check_text(const pb::CheckMdsReply& reply) {
  const MdsVerdict verdict = judge(reply);
  std::string text = fmt::format("Compared at slot {} of the log:\n", reply.slot());
  Table table({"MDSID", "ADDRESS", "DIGEST", "RESULT"});
  for (const pb::CheckMdsReply::One& one : reply.mds()) {
    const bool silent = !one.failure().empty();
    table.add({std::to_string(one.mds_id()), one.address(),
               silent ? "-" : fmt::format("{:08x}", one.digest()),
               silent ? short_reason(one.failure()) : std::string(word(verdict, one))});
  }
  return text + table.to_string() + conclusion(verdict, reply);
}

std::string mds_check_json(const pb::CheckMdsReply& reply) {
  using Json = nlohmann::ordered_json;
  const MdsVerdict verdict = judge(reply);
  Json json = {{"schema", 1},
               {"slot", reply.slot()},
               {"result", word(verdict.kind)},
               {"mds", Json::array()}};
  for (const pb::CheckMdsReply::One& one : reply.mds()) {
    const bool silent = !one.failure().empty();
    Json entry = {{"id", one.mds_id()}, {"address", one.address()}};
    entry["digest"] = silent ? Json() : Json(fmt::format("{:08x}", one.digest()));
    // null: it cannot be said.
    const bool unknown = silent || !verdict.reference_known;
    entry["agrees"] = unknown ? Json() : Json(one.digest() == verdict.reference);
    entry["failure"] = one.failure();
    json["mds"].push_back(std::move(entry));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cairn::admin
