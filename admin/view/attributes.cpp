#include "admin/view/attributes.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "admin/view/suggest.h"
#include "admin/view/units.h"
#include "common/erasure/encoding.h"

namespace cairn::admin {
namespace {

const std::vector<std::string>& attribute_names() {
  static const std::vector<std::string> names = {"replicas", "encoding", "tier", "failure-domain"};
  return names;
}

constexpr std::array<std::string_view, 6> kDomains = {"unset", "disk", "host",
                                                      "rack",  "row",  "room"};

std::string_view domain_name(pb::DomainLevel level) {
  const auto index = static_cast<std::size_t>(level);
  return index < kDomains.size() ? kDomains[index] : "unknown";
}

Status set_encoding(pb::Policy& policy, const Result<erasure::Encoding>& encoding) {
  if (!encoding.has_value()) return fail(encoding.error());
  policy.mutable_encoding()->set_data(encoding->data);
  policy.mutable_encoding()->set_parity(encoding->parity);
  policy.mutable_encoding()->set_min(encoding->min);
  return {};
}

Status set_tier(pb::SetPolicyRequest& request, const std::string& value) {
  std::uint32_t tier = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), tier);
  if (error != std::errc{} || end != value.data() + value.size() || tier > 3) {
    return fail(Code::kInvalidArgument, "tier=" + value + " is not one of 0, 1, 2, 3");
  }
  request.mutable_policy()->set_tier(tier);
  request.set_set_tier(true);
  return {};
}

Status set_domain(pb::Policy& policy, const std::string& value) {
  if (value == "disk" || value == "host") {
    policy.set_failure_domain(value == "disk" ? pb::DOMAIN_DISK : pb::DOMAIN_HOST);
    return {};
  }
  if (value == "rack" || value == "row" || value == "room") {
    return fail(Code::kUnsupported,
                "failure-domain=" + value + " is not built yet: use disk or host");
  }
  return fail(Code::kInvalidArgument, "failure-domain=" + value + " is not one of disk, host");
}

Status apply(pb::SetPolicyRequest& request, const std::string& name, const std::string& value) {
  if (name == "replicas") {
    return set_encoding(*request.mutable_policy(), erasure::Encoding::parse_replicas(value));
  }
  if (name == "encoding") {
    return set_encoding(*request.mutable_policy(), erasure::Encoding::parse_code(value));
  }
  if (name == "tier") return set_tier(request, value);
  if (name == "failure-domain") return set_domain(*request.mutable_policy(), value);
  const std::string hint = did_you_mean(nearest(name, attribute_names(), 3, true));
  return fail(Code::kInvalidArgument, "there is no attribute '" + name + "'. " + hint);
}

nlohmann::ordered_json policy_json(const pb::Policy& policy) {
  nlohmann::ordered_json json;
  for (const std::string& line : attribute_lines(policy)) {
    const std::size_t equals = line.find('=');
    json[line.substr(0, equals)] = line.substr(equals + 1);
  }
  json["tier"] = policy.tier();
  return json;
}

}  // namespace

Result<pb::SetPolicyRequest> parse_attributes(const std::vector<std::string>& words) {
  if (words.empty()) {
    return fail(Code::kInvalidArgument,
                "no attribute was given: write name=value, as in replicas=3 or encoding=4+2");
  }
  pb::SetPolicyRequest request;
  std::set<std::string> seen;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(Code::kInvalidArgument, "'" + word + "' is not name=value");
    }
    const std::string name = word.substr(0, equals);
    TRY_VOID(apply(request, name, word.substr(equals + 1)));
    if (!seen.insert(name).second) {
      return fail(Code::kInvalidArgument, "the attribute '" + name + "' was given twice");
    }
  }
  if (seen.contains("replicas") && seen.contains("encoding")) {
    return fail(Code::kInvalidArgument,
                "replicas and encoding exclude each other: give one of them");
  }
  return request;
}

Result<PathAndAttributes> split_arguments(const std::vector<std::string>& words, bool from_root) {
  if (words.empty()) return fail(Code::kInvalidArgument, "no path was given");
  PathAndAttributes result{.path = words.front(), .attributes = {words.begin() + 1, words.end()}};
  if (!from_root) return result;
  const bool joined = std::ranges::any_of(attribute_names(), [&result](const std::string& name) {
    return result.path.starts_with("/" + name + "=");
  });
  if (joined) {
    result.attributes.insert(result.attributes.begin(), result.path.substr(1));
    result.path = "/";
  }
  if (!result.path.starts_with('/')) {
    return fail(Code::kInvalidArgument, "the path '" + result.path +
                                            "' does not begin with '/': -p takes a path from the "
                                            "cluster's root");
  }
  return result;
}

std::string encoding_attribute(const pb::Encoding& encoding) {
  const Result<erasure::Encoding> made =
      erasure::Encoding::make(encoding.data(), encoding.parity(), encoding.min());
  return made.has_value() ? made->to_attribute() : "encoding=unset";
}

std::vector<std::string> attribute_lines(const pb::Policy& policy) {
  return {encoding_attribute(policy.encoding()), "tier=" + std::to_string(policy.tier()),
          "failure-domain=" + std::string(domain_name(policy.failure_domain()))};
}

std::string attributes_text(const pb::GetPolicyReply& reply, const std::string& file) {
  std::string text = "connected to MDS#" + std::to_string(reply.mds_id()) + "\n";
  text += "File: '" + file + "'\nAttributes:\n";
  for (const std::string& line : attribute_lines(reply.policy())) text += line + "\n";
  if (reply.has_layout()) {
    text += "Data is stored as:\n" + encoding_attribute(reply.layout().encoding()) + "\n";
    text += "cell=" + format_size(reply.layout().cell_bytes()) + "\n";
  }
  return text;
}

std::string attributes_json(const pb::GetPolicyReply& reply, const std::string& file) {
  nlohmann::ordered_json json = {{"schema", 1}, {"mds", reply.mds_id()}, {"file", file}};
  json["attributes"] = policy_json(reply.policy());
  if (reply.has_layout()) {
    const std::string stored = encoding_attribute(reply.layout().encoding());
    const std::size_t equals = stored.find('=');
    json["stored"] = {{stored.substr(0, equals), stored.substr(equals + 1)},
                      {"cell_bytes", reply.layout().cell_bytes()},
                      {"piece_bytes", reply.layout().piece_bytes()}};
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace cairn::admin
