// Is a TCP port free, and if not, who has it.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"
#include "common/net/stream.h"

namespace cairn::admin {

// Binds and lets go again.
// Errors:   kBusy, naming the port and, where /proc shows it, the process; kInvalidArgument when
//           the address is none of this host.
Status check_port_free(const net::Address& address);

// The local address from which packets to `peer` leave: what others can reach us by.
Result<std::string> local_address_towards(const net::Address& peer);

}  // namespace cairn::admin
