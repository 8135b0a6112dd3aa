// The settings of a cluster as the guide spells them: name=value. Words -> request, reply -> text
// and JSON.
#pragma once

#include <string>
#include <vector>

#include "admin/view/failure.h"
#include "proto/admin.pb.h"

namespace cairn::admin {

// "name=value" each. `known`: what the cluster has, for "did you mean" and the ranges.
Outcome<std::vector<pb::Setting>> parse_settings(const std::vector<std::string>& words,
                                                 const pb::GetConfigReply& known,
                                                 const std::string& what);
// Those of `known` that are asked for, in their order there; none asked for: all.
Outcome<pb::GetConfigReply> choose_settings(const std::vector<std::string>& names,
                                            const pb::GetConfigReply& known,
                                            const std::string& what);

// "name=value" a line: what set-config takes. `verbose`: with meaning, range and default below.
std::string settings_text(const pb::GetConfigReply& settings, bool verbose);
// What set-config did: "name=value (was 2)".
std::string changes_text(const pb::SetConfigReply& done, const pb::GetConfigReply& before);
std::string settings_json(const pb::GetConfigReply& settings);
std::string changes_json(const pb::SetConfigReply& done, const pb::GetConfigReply& before);

}  // namespace cairn::admin
