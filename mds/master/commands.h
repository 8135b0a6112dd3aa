// Commands: the door to the log for the parts of the master: stamps, encodes, proposes, decodes.
//
// Promises: command times never go back within a reign, whatever the wall clock does (over reigns
//           the state machine sees to it). After close() nothing of this reign gets into the next
//           one.
// Errors:   the log's (outcome unknown), or the refusal of the state machine.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"
#include "mds/replication/replicated_log.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::master {

Error to_error(const pb::ErrorDetail& detail);
void fill_error(const Error& error, pb::ErrorDetail* detail);

class Commands {
 public:
  Commands(runtime::Runtime& runtime, replication::ReplicatedLog& log)
      : runtime_(runtime), log_(log) {}

  // An error of the reply is returned as the error.
  Task<Result<pb::CommandReply>> run(pb::Command command);
  // What was read from the tables or the master's memory before is the newest truth, or kNotMaster.
  Task<Status> confirm();
  // The reign is over: nothing more is proposed or confirmed, although this MDS may be elected
  // again.
  void close() { closed_ = true; }

 private:
  runtime::Runtime& runtime_;
  replication::ReplicatedLog& log_;
  std::int64_t last_time_ns_ = 0;
  bool closed_ = false;
};

}  // namespace cairn::mds::master
