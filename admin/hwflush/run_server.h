// Runs the server of hwflush-check until SIGINT or SIGTERM.
#pragma once

#include <functional>
#include <string>

#include "common/base/result.h"
#include "common/net/stream.h"

namespace cairn::admin::hwflush {

struct ServerOptions {
  net::Address at;
  std::string state_file;  // empty: what it was told is forgotten when it ends
};

// `say` gets lines with their newline.
// Errors:   those of Server; kDiskFailed and the like when the state file cannot be written.
Status run_server(const ServerOptions& options, const std::function<void(const std::string&)>& say);

}  // namespace cairn::admin::hwflush
