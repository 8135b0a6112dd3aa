#include "admin/commands/renumber.h"

#include <charconv>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "admin/commands/repository_checks.h"
#include "common/cluster/cluster_config.h"

namespace cairn::admin {
namespace {

std::string name_of(NodeId id) { return "MDS#" + std::to_string(id.raw()); }

Result<std::pair<NodeId, net::Address>> parse_node(const std::string& word) {
  const std::size_t at = word.find('@');
  std::uint32_t id = 0;
  const char* end = word.data() + std::min(at, word.size());
  const auto [parsed, error] = std::from_chars(word.data(), end, id);
  if (at == std::string::npos || error != std::errc{} || parsed != end || id == 0) {
    return fail(Code::kInvalidArgument,
                "'" + word + "' is not ID@ADDR[:PORT], as in 1@10.30.100.101");
  }
  TRY(net::Address address, parse_address(word.substr(at + 1), cluster::kMdsPort));
  if (address.port == 65535) {
    return fail(Code::kInvalidArgument,
                "'" + word + "': two consecutive ports are needed and 65535 is the last one");
  }
  return std::pair(NodeId::from_raw(id), std::move(address));
}

Status check_apart(const Members& members) {
  for (auto one = members.begin(); one != members.end(); ++one) {
    for (auto other = std::next(one); other != members.end(); ++other) {
      const int distance = int{one->second.port} - int{other->second.port};
      if (one->second.host != other->second.host || std::abs(distance) > 1) continue;
      return fail(Code::kInvalidArgument, name_of(one->first) + " at " + one->second.to_string() +
                                              " and " + name_of(other->first) + " at " +
                                              other->second.to_string() +
                                              " would share a port (each uses PORT and PORT+1)");
    }
  }
  return {};
}

}  // namespace

Result<Members> parse_nodes(const std::vector<std::string>& words) {
  Members nodes;
  for (const std::string& word : words) {
    TRY(auto node, parse_node(word));
    const NodeId id = node.first;
    if (!nodes.insert(std::move(node)).second) {
      return fail(Code::kInvalidArgument, name_of(id) + " was given two addresses");
    }
  }
  if (nodes.empty()) return fail(Code::kInvalidArgument, "no new address was given");
  return nodes;
}

Members members_of(const cluster::MdsRepository& repository) {
  Members members = repository.peers;
  members.insert_or_assign(repository.mds_id, repository.address);
  return members;
}

Result<cluster::MdsRepository> renumber(cluster::MdsRepository repository, const Members& nodes,
                                        bool unknown_too) {
  const Members before = members_of(repository);
  for (const auto& [id, address] : nodes) {
    if (!unknown_too && !before.contains(id)) {
      std::string known;
      for (const auto& [member, place] : before) {
        known += (known.empty() ? "" : ", ") + name_of(member);
      }
      return fail(Code::kNotFound, name_of(id) + " is none of the members that " +
                                       name_of(repository.mds_id) + " knows: " + known);
    }
    if (id == repository.mds_id) {
      repository.address = address;
    } else {
      repository.peers.insert_or_assign(id, address);
    }
  }
  const Members after = members_of(repository);
  TRY_VOID(check_apart(after));
  if (after != before) repository.addresses_changed = true;
  return repository;
}

}  // namespace cairn::admin
