// What a log remembers besides values (LogState), as its records say it. Pure; the rules that all
// log stores share.
#pragma once

#include <vector>

#include "mds/replication/log_format.h"
#include "mds/replication/log_store.h"

namespace cairn::mds::replication {

void advance(LogState* state, const paxos::Record& record);
void advance(LogState* state, const LogRecord& record);
void advance(LogState* state, const RecordView& view);

// Records that bring an empty log to this state: what a new segment begins with, so that the
// segments before it can go.
std::vector<LogRecord> prologue_of(const LogState& state, Slot floor);

}  // namespace cairn::mds::replication
