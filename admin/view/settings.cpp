#include "admin/view/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "admin/view/suggest.h"

namespace cairn::admin {
namespace {

using Json = nlohmann::ordered_json;
using One = pb::GetConfigReply::One;

constexpr const char* kSeeAll = "See all of them:  cairn get-config -v";

const One* find(const pb::GetConfigReply& known, const std::string& name) {
  const auto it = std::ranges::find(known.settings(), name, &One::name);
  return it == known.settings().end() ? nullptr : &*it;
}

Failure unknown_setting(const std::string& name, const pb::GetConfigReply& known,
                        const std::string& what) {
  std::vector<std::string> names;
  for (const One& one : known.settings()) names.push_back(one.name());
  // Also "verify_chunks" for "mds.wd.verify_chunks".
  std::vector<std::string> near = nearest(name, names, 3, false);
  for (const std::string& one : names) {
    if (near.empty() && !name.empty() && one.ends_with("." + name)) near.push_back(one);
  }
  const std::string hint = did_you_mean(near);
  return {.code = Code::kInvalidArgument,
          .what = what,
          .why = "There is no setting '" + name + "'",
          .state = {},
          .next = hint.empty() ? kSeeAll : hint + "\n" + kSeeAll};
}

std::string before_of(const pb::GetConfigReply& before, const std::string& name) {
  const One* one = find(before, name);
  return one == nullptr ? std::string() : one->value();
}

std::string dumped(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

Outcome<std::vector<pb::Setting>> parse_settings(const std::vector<std::string>& words,
                                                 const pb::GetConfigReply& known,
                                                 const std::string& what) {
  std::vector<pb::Setting> settings;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return failure({.code = Code::kInvalidArgument,
                      .what = what,
                      .why = "'" + word + "' is not name=value",
                      .state = {},
                      .next = "Write it as in:  cairn set-config mds.wd.verify_chunks=3"});
    }
    pb::Setting& setting = settings.emplace_back();
    setting.set_name(word.substr(0, equals));
    setting.set_value(word.substr(equals + 1));
    if (find(known, setting.name()) == nullptr) {
      return failure(unknown_setting(setting.name(), known, what));
    }
  }
  return settings;
}

Outcome<pb::GetConfigReply> choose_settings(const std::vector<std::string>& names,
                                            const pb::GetConfigReply& known,
                                            const std::string& what) {
  if (names.empty()) return known;
  for (const std::string& name : names) {
    if (find(known, name) == nullptr) return failure(unknown_setting(name, known, what));
  }
  pb::GetConfigReply chosen;
  for (const One& one : known.settings()) {
    if (std::ranges::find(names, one.name()) != names.end()) *chosen.add_settings() = one;
  }
  return chosen;
}

std::string settings_text(const pb::GetConfigReply& settings, bool verbose) {
  std::string text;
  for (const One& one : settings.settings()) {
    text += one.name() + "=" + one.value() + "\n";
    if (!verbose) continue;
    text += "  " + one.help() + "\n";
    if (one.range().empty()) continue;
    text += "  " + one.range() + "; default " + one.default_value() + "\n";
  }
  return text;
}

std::string changes_text(const pb::SetConfigReply& done, const pb::GetConfigReply& before) {
  std::string text;
  for (const pb::Setting& setting : done.settings()) {
    const std::string old = before_of(before, setting.name());
    text += setting.name() + "=" + setting.value() +
            (old == setting.value() ? " (as it was)" : " (was " + old + ")") + "\n";
  }
  return text;
}

std::string settings_json(const pb::GetConfigReply& settings) {
  Json json = {{"schema", 1}, {"settings", Json::array()}};
  for (const One& one : settings.settings()) {
    json["settings"].push_back({{"name", one.name()},
                                {"value", one.value()},
                                {"default", one.default_value()},
                                {"range", one.range()},
                                {"help", one.help()}});
  }
  return dumped(json);
}

std::string changes_json(const pb::SetConfigReply& done, const pb::GetConfigReply& before) {
  Json json = {{"schema", 1}, {"settings", Json::array()}};
  for (const pb::Setting& setting : done.settings()) {
    json["settings"].push_back({{"name", setting.name()},
                                {"value", setting.value()},
                                {"before", before_of(before, setting.name())}});
  }
  return dumped(json);
}

}  // namespace cairn::admin
