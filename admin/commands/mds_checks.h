// What make-mds asks of the address and the place of a new MDS, first or not.
#pragma once

#include <string>

#include "admin/view/failure.h"
#include "common/net/stream.h"

namespace cairn::admin {

inline constexpr const char* kCannotMakeMds = "cannot make the MDS";

// "ADDR[:PORT]" with a port after it. Reads nothing of this host.
Outcome<net::Address> parse_mds_address(const std::string& text);
// It is an address of this host, and both ports are free.
Outcome<net::Address> check_mds_address(const std::string& text);
// At least 10 GB are free; with `force` a warning if not.
Outcome<Output> check_mds_space(const std::string& repository, bool force);

}  // namespace cairn::admin
