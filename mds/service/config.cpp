// set-config and get-config: the settings of the cluster. What there is: mds/state/settings.h.
#include <map>
#include <set>

#include "mds/service/admin_service.h"
#include "mds/state/machine.h"

namespace cairn::mds::service {

namespace {

using state::SettingSpec;

constexpr std::string_view kBackToDefault = "default";

std::unexpected<Error> unknown(const std::string& name) {
  return fail(Code::kInvalidArgument, "there is no setting '" + name + "'");
}

std::string default_text(const SettingSpec& spec) { return std::to_string(spec.default_value); }

// Checked, in one spelling; an empty value takes it back to the default.
Result<pb::Setting> checked(const pb::Setting& asked) {
  const SettingSpec* spec = state::find_setting(asked.name());
  if (spec == nullptr) return unknown(asked.name());
  pb::Setting setting;
  setting.set_name(asked.name());
  if (asked.value() == kBackToDefault) return setting;
  TRY(const std::uint64_t value, state::parse_setting(*spec, asked.value()));
  setting.set_value(std::to_string(value));
  return setting;
}

void show(const SettingSpec& spec, const std::string& value, pb::GetConfigReply* reply) {
  pb::GetConfigReply::One* one = reply->add_settings();
  one->set_name(std::string(spec.name));
  one->set_value(value);
  one->set_default_value(default_text(spec));
  one->set_range(state::range_text(spec));
  one->set_help(std::string(spec.help));
}

// Set by a newer version.
void show_foreign(const std::string& name, const std::string& value, pb::GetConfigReply* reply) {
  pb::GetConfigReply::One* one = reply->add_settings();
  one->set_name(name);
  one->set_value(value);
  one->set_help("This version does not know it.");
}

}  // namespace

Task<Result<pb::SetConfigReply>> AdminService::set_config(AdminService* self,
                                                          pb::SetConfigRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  if (request.settings_size() == 0) {
    co_return fail(Code::kInvalidArgument, "no setting was given: name=value");
  }
  pb::Command command;
  pb::SetConfigReply reply;
  std::set<std::string> seen;
  std::string told;
  for (const pb::Setting& asked : request.settings()) {
    CO_TRY(const pb::Setting setting, checked(asked));
    if (!seen.insert(setting.name()).second) {
      co_return fail(Code::kInvalidArgument, setting.name() + " is given twice");
    }
    *command.mutable_set_config()->add_settings() = setting;
    pb::Setting* shown = reply.add_settings();
    *shown = setting;
    if (setting.value().empty()) {
      shown->set_value(default_text(*state::find_setting(setting.name())));
    }
    told += (told.empty() ? "" : ", ") + shown->name() + "=" + shown->value();
  }
  const master::Environment& env = self->master_.environment();
  const Result<pb::CommandReply> done = co_await env.commands.run(std::move(command));
  if (!done.has_value()) co_return fail(done.error());
  const std::string from = request.from().empty() ? "an unknown address" : request.from();
  self->master_.events().write(
      "MDS", observe::Severity::kInfo,
      fmt::format("Global configuration updated by request from {}: {}", from, told));
  co_return reply;
}

Task<Result<pb::GetConfigReply>> AdminService::get_config(AdminService* self,
                                                          pb::GetConfigRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  const kv::Reader& tables = self->master_.environment().tables;
  CO_TRY(const std::vector<pb::Setting> rows, state::queries::stored_settings(tables));
  std::map<std::string, std::string> stored;
  for (const pb::Setting& row : rows) stored.emplace(row.name(), row.value());
  std::set<std::string> names(request.names().begin(), request.names().end());
  if (names.empty()) {
    for (const SettingSpec* spec : state::all_settings()) names.emplace(spec->name);
    for (const auto& [name, value] : stored) names.insert(name);
  }
  pb::GetConfigReply reply;
  for (const std::string& name : names) {
    const SettingSpec* spec = state::find_setting(name);
    const auto row = stored.find(name);
    if (spec != nullptr) {
      CO_TRY(const std::uint64_t value, state::queries::setting(tables, *spec));
      show(*spec, std::to_string(value), &reply);
    } else if (row != stored.end()) {
      show_foreign(name, row->second, &reply);
    } else {
      co_return unknown(name);
    }
  }
  co_return reply;
}

}  // namespace cairn::mds::service
