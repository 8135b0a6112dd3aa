#include <nlohmann/json.hpp>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/table.h"

namespace cairn::admin {
namespace {

bool wanted(const LocalService& service, const ListServices& options) {
  return service.kind == ServiceKind::kMds ? options.mds : options.cs;
}

const char* kind_word(const LocalService& service) {
  return service.kind == ServiceKind::kMds ? "mds" : "cs";
}

}  // namespace

Outcome<Output> list_services(const Globals& globals, const ListServices& options) {
  const std::string what = "cannot list the services of this host";
  std::vector<std::string> clusters = cluster::ClusterConfig::known({});
  if (!globals.cluster.empty()) {
    const Outcome<std::string> named = choose_cluster(globals, what);
    if (!named.has_value()) return std::unexpected(named.error());
    clusters = {*named};
  }
  Table table({"CLUSTER", "TYPE", "ID", "STATE", "PID", "REPOSITORY"});
  nlohmann::ordered_json json = {{"schema", 1}, {"services", nlohmann::ordered_json::array()}};
  for (const std::string& cluster : clusters) {
    const auto services = local_services(cluster::ClusterConfig({}, cluster));
    if (!services.has_value()) return failure(what, services.error());
    for (const LocalService& service : *services) {
      if (!wanted(service, options)) continue;
      const ServiceState state = service_state(service);
      table.add({cluster, kind_word(service), std::to_string(service.id.raw()), state.word,
                 state.pid == 0 ? "-" : std::to_string(state.pid), service.repository});
      json["services"].push_back({{"cluster", cluster},
                                  {"type", kind_word(service)},
                                  {"id", service.id.raw()},
                                  {"state", state.word},
                                  {"pid", state.pid},
                                  {"repository", service.repository}});
    }
  }
  if (globals.json) {
    return Output{
        .text = json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n",
        .warnings = {}};
  }
  if (table.rows() == 0)
    return Output{.text = "no services of Cairn on this host\n", .warnings = {}};
  return Output{.text = table.to_string(), .warnings = {}};
}

}  // namespace cairn::admin
