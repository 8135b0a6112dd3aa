// MdsDoor: where and as whom a command talks to the MDS of a cluster; ask() makes one call and
// waits for its answer on an event loop of its own. For programs that do one thing and end.
#pragma once

#include <string>
#include <vector>

#include "admin/commands/command.h"
#include "common/base/time.h"
#include "common/cluster/cluster_config.h"
#include "common/net/channel.h"
#include "common/net/stream.h"

namespace cairn::admin {

struct MdsDoor {
  std::vector<net::Address> addresses;
  net::Credentials credentials;
  Duration timeout = 15s;
};

// The door of the named cluster as this host knows it. `what` begins the failure: "cannot ...".
Outcome<MdsDoor> open_door(const Globals& globals, const std::string& cluster,
                           const std::string& what);

// Asks each address once until one answers; what may have been done is not asked again.
Result<std::string> ask_bytes(const MdsDoor& door, std::string method, std::string request);

template <class Reply, class Request>
Result<Reply> ask(const MdsDoor& door, std::string method, const Request& request) {
  TRY(const std::string bytes, ask_bytes(door, std::move(method), request.SerializeAsString()));
  Reply reply;
  if (!reply.ParseFromString(bytes))
    return fail(Code::kProtocol, "the MDS sent an unreadable reply");
  return reply;
}

}  // namespace cairn::admin
