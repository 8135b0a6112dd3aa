// Runs the handshake of handshake.h over a Stream.
#pragma once

#include "common/net/handshake.h"
#include "common/net/stream.h"
#include "common/runtime/runtime.h"

namespace cairn::net {

// Requires: `stream` outlives the task. Reads not one byte past the handshake.
// Errors:   kWrongCluster, kNotAuthenticated (either side refused the other), kTimeout,
//           kConnectionLost, kProtocol. After an error the stream is of no use; the caller closes
//           it.
Task<Status> authenticate(runtime::Runtime& runtime, Stream& stream, Credentials credentials,
                          Role role, Deadline deadline);

}  // namespace cairn::net
