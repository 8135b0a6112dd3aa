// Reading from log segments: whole ones when the log is opened, single records afterwards. Blocking
// calls without state: any thread.
#pragma once

#include <filesystem>
#include <vector>

#include "common/base/buffer.h"
#include "mds/replication/slot_index.h"

namespace cairn::mds::replication {

// A whole segment. Not mapped: a bad sector is an error, not a signal.
// Errors: kDiskFailed; kCorrupt: larger than any segment is.
Result<Buffer> read_segment(const std::filesystem::path& path);

// The records at these places, in their order. Reads past the page cache, as the writer writes: a
// block that is being written again at this moment has the same durable bytes before and after.
// Errors: kCorrupt: another record, or none, lies there. kNotFound: the segment was removed.
// kDiskFailed.
Result<std::vector<paxos::Accepted>> read_records(const std::filesystem::path& directory,
                                                  const std::vector<Location>& places);

}  // namespace cairn::mds::replication
