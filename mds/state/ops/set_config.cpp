// Settings of the cluster, as text. What they mean and may be: mds/state/settings.h, asked by the
// master before it proposes; here only what keeps the table sound, for members of other versions
// may know other settings.
#include <algorithm>

#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

constexpr int kSettingsPerCommandMax = 100;
constexpr std::size_t kNameBytesMax = 64;
constexpr std::size_t kValueBytesMax = 256;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

Status check(const pb::Setting& setting) {
  const std::string& name = setting.name();
  if (name.empty() || name.size() > kNameBytesMax ||
      !std::ranges::all_of(name, is_name_character)) {
    return fail(Code::kInvalidArgument, "a setting has a name that none can have");
  }
  if (setting.value().size() > kValueBytesMax) {
    return fail(Code::kInvalidArgument, "the value of " + name + " is longer than 256 bytes");
  }
  return check_text("value", setting.value());
}

}  // namespace

Status set_config(Tables& tables, const pb::SetConfigCommand& op) {
  if (op.settings_size() > kSettingsPerCommandMax) {
    return fail(Code::kInvalidArgument, "more than 100 settings at once");
  }
  for (const pb::Setting& setting : op.settings()) {
    TRY_VOID(check(setting));
    std::string key = keys::setting(setting.name());
    if (setting.value().empty()) {
      tables.erase(std::move(key));
    } else {
      tables.put_bytes(std::move(key), setting.value());
    }
  }
  return {};
}

}  // namespace cairn::mds::state::ops
