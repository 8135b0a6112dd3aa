// "SERVER[:PORT]" -> addresses to try.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/net/stream.h"

namespace cairn::admin::hwflush {

// "host", "host:2530", "10.0.0.1", "fe80::1", "[fe80::1]:2530". The host is not looked at. Pure.
// Error: kInvalidArgument.
Result<net::Address> split_server(const std::string& text, std::uint16_t default_port);

// Asks the resolver; never empty. Error: kNotFound.
Result<std::vector<net::Address>> resolve(const net::Address& named);

}  // namespace cairn::admin::hwflush
