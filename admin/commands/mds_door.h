// MdsDoor: where and as whom a command talks to the MDS of a cluster; ask() makes one call to the
// master and waits for its answer on an event loop of its own. For programs that do one thing and
// end.
#pragma once

#include <string>
#include <vector>

#include "admin/commands/command.h"
#include "common/base/time.h"
#include "common/cluster/cluster_config.h"
#include "common/net/channel.h"
#include "common/net/stream.h"
#include "proto/admin.pb.h"

namespace cairn::admin {

struct MdsDoor {
  std::vector<net::Address> addresses;
  net::Credentials credentials;  // also names the cluster
  Duration timeout = 15s;
};

Duration timeout_of(const Globals& globals);

// The door of the named cluster as this host knows it. `what` begins the failure: "cannot ...".
Outcome<MdsDoor> open_door(const Globals& globals, const std::string& cluster,
                           const std::string& what);

// Finds the master and asks it; rides out an election (master_search.h). What may have been done is
// not asked again.
Result<std::string> ask_bytes(const MdsDoor& door, std::string method, std::string request);

template <class Reply, class Request>
Result<Reply> ask(const MdsDoor& door, std::string method, const Request& request) {
  TRY(const std::string bytes, ask_bytes(door, std::move(method), request.SerializeAsString()));
  Reply reply;
  if (!reply.ParseFromString(bytes))
    return fail(Code::kProtocol, "the MDS sent an unreadable reply");
  return reply;
}

// Waits between two questions.
void pause(Duration duration);

// Any MDS, master or not: that it answers proves key and cluster.
Result<pb::HelloReply> greet(const MdsDoor& door);

}  // namespace cairn::admin
