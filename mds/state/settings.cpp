#include "mds/state/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

namespace cairn::mds::state {
namespace {

constexpr std::array<const SettingSpec*, 2> kAll = {
    &settings::kConvertWorkers,
    &settings::kVerifyChunks,
};

constexpr bool is_sound(const SettingSpec& spec) {
  return !spec.name.empty() && !spec.help.empty() && spec.min <= spec.default_value &&
         spec.default_value <= spec.max && (spec.type == SettingType::kNumber || spec.max == 1);
}
static_assert(std::ranges::all_of(kAll, [](const SettingSpec* spec) { return is_sound(*spec); }));
static_assert(std::ranges::is_sorted(kAll, {}, [](const SettingSpec* spec) { return spec->name; }));

std::unexpected<Error> refuse(const SettingSpec& spec, std::string_view text) {
  return fail(Code::kInvalidArgument, std::string(spec.name) + "=" + std::string(text) +
                                          " is not allowed: it is " + range_text(spec));
}

}  // namespace

std::span<const SettingSpec* const> all_settings() { return kAll; }

const SettingSpec* find_setting(std::string_view name) {
  const auto it =
      std::ranges::find_if(kAll, [&](const SettingSpec* spec) { return spec->name == name; });
  return it == kAll.end() ? nullptr : *it;
}

std::string range_text(const SettingSpec& spec) {
  if (spec.type == SettingType::kFlag) return "0 or 1";
  std::string text = std::to_string(spec.min) + " to " + std::to_string(spec.max);
  if (!spec.unit.empty()) text += " " + std::string(spec.unit);
  return text;
}

Result<std::uint64_t> parse_setting(const SettingSpec& spec, std::string_view text) {
  if (spec.type == SettingType::kFlag) {
    if (text == "1" || text == "on" || text == "yes") return 1;
    if (text == "0" || text == "off" || text == "no") return 0;
    return refuse(spec, text);
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return refuse(spec, text);
  if (number < spec.min || number > spec.max) return refuse(spec, text);
  return number;
}

}  // namespace cairn::mds::state
