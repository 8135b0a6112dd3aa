// What the parts of the master share: the outside, the tables and the door to the log.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/limits.h"
#include "common/base/time.h"
#include "common/kv/kv.h"
#include "common/net/channel.h"
#include "common/net/stream.h"
#include "common/observe/log.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"
#include "mds/master/commands.h"

namespace cairn::mds::master {

// Breaks one promise of a recovery on purpose, so that the simulator can show that it notices.
struct Sabotage {
  bool resolve_by_majority = false;  // an op that most pieces have goes forward, any other not
  bool forget_regions = false;       // what undecided ops touched is not noted
};

struct Settings {
  NodeId mds_id = kFirstMdsId;
  std::string address;  // of this MDS, for people
  // gRPC addresses of all MDS, the master first. Empty: clients keep to what they were given.
  std::function<std::vector<std::string>()> mds_addresses;
  std::string cluster;
  ClusterId cluster_id;
  net::Credentials credentials;
  Duration lease = std::chrono::milliseconds(limits::kLeaseMsDefault);
  Duration heartbeat = 1s;
  Duration cs_inactive_after = 4s;  // three heartbeats missed
  Duration cs_offline_after = 5min;
  Duration cs_call = 3s;          // one Seal or Resolve
  Duration recall_repeat = 5s;    // a recall is sent again after this
  Duration background_step = 1s;  // expiry, liveness, purging
  // Of new files; 0: the defaults. Tests make them small.
  std::uint32_t cell_bytes = 0;
  std::uint64_t piece_bytes = 0;
  Sabotage sabotage;
};

struct Environment {
  runtime::Runtime& runtime;
  net::Network& network;
  observe::Log& log;
  const kv::Reader& tables;
  Commands& commands;
  runtime::TaskGroup& tasks;  // joined by Master::stop()
  const Settings& settings;
  const bool& stopping;  // loops end when it turns true
};

// Sleeps, but not long past the end of the reign: the next one on this MDS, and the end of the
// process, wait for it.
inline Task<void> pause(Environment env, Duration duration) {
  constexpr Duration kSlice = 100ms;
  const Instant end = env.runtime.now() + duration;
  while (!env.stopping && env.runtime.now() < end) {
    const Instant next = std::min(end, env.runtime.now() + kSlice);
    co_await runtime::sleep_until(env.runtime, next);
  }
}

}  // namespace cairn::mds::master
