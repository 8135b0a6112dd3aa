// `cairn stat --json` and `cairn get-event --json`, schema 1: integers in bytes and nanoseconds,
// UTC times. Fields are added, never renamed or removed within schema 1.
#pragma once

#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

std::string stat_json(const pb::StatReply& reply);
std::string events_json(const google::protobuf::RepeatedPtrField<pb::Event>& events);

}  // namespace cairn::admin
