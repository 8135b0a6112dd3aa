// Offline: one client's requests about a repository whose daemon does not run, over the socket that
// is standard input: the same requests, answered by the same code, as at the control door of a
// daemon. `cairn configure-cs` starts it so.
//
// Promises: holds the repository's lock; opens the store only for a request that needs it; closes
//           it in order. The other end hears why it could not begin.
#pragma once

#include "chunkserver/whereabouts.h"
#include "common/observe/log.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::chunkserver {

// Ends when the client closes.
Task<Status> serve_offline(runtime::AsioRuntime* runtime, observe::Log* log,
                           const Whereabouts* place, std::string version);

}  // namespace cairn::chunkserver
