// What every command of `cairn` gets: the options that are the same for all.
#pragma once

#include <string>

#include "admin/view/failure.h"

namespace cairn::admin {

struct Globals {
  std::string cluster;  // -c; empty: CAIRN_CLUSTER, the mount of the path, the only known one
  bool json = false;
  double timeout_s = 15;
};

}  // namespace cairn::admin
