// Asks the kernel whether one could listen on an address now, for libraries that only say "failed".
#pragma once

#include "common/net/stream.h"

namespace cairn::net {

// Errors: kBusy (names the port), kUnavailable (not an address of this machine, no permission).
Status probe_listen(const Address& at);

}  // namespace cairn::net
