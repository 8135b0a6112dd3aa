// The chunk servers of `cairn stat`: the table of the guide, and with -v a second one with what
// their drives, journals and scrubs did.
#pragma once

#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

// With the reason of each failure, and a legend of the letters that mean trouble. UNIQUE is known
// only when the chunks were counted.
std::string cs_table(const pb::StatReply& reply);
std::string cs_details(const pb::StatReply& reply);

}  // namespace cairn::admin
