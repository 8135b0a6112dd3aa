// `cairn stat` as text: the header lines and the MDS, CS and client tables of the guide, the last
// events. Plain lines in a stable order, for people and grep.
#pragma once

#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

// `verbose`: with a second table of the chunk servers.
std::string stat_text(const pb::StatReply& reply, bool verbose = false);
// TIME SYS SEV MESSAGE, oldest first.
std::string events_text(const google::protobuf::RepeatedPtrField<pb::Event>& events);

}  // namespace cairn::admin
