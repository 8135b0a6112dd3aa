// What an operator reads about the group of MDS: how many may fail, whether their tables agree.
#pragma once

#include <cstddef>
#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

// One sentence on a group of `members` MDS: how many may fail, and whether that number is wise.
std::string group_size_advice(std::size_t members);

// What check-mds found. Of several digests the one that most members have is taken as right; with
// as many on either side nobody can say.
struct MdsVerdict {
  enum class Kind { kAllAgree, kSomeSilent, kDiffer };
  Kind kind = Kind::kAllAgree;
  bool reference_known = true;
  std::uint32_t reference = 0;
};
MdsVerdict judge(const pb::CheckMdsReply& reply);

std::string mds_check_text(const pb::CheckMdsReply& reply);
std::string mds_check_json(const pb::CheckMdsReply& reply);

}  // namespace cairn::admin
