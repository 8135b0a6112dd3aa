// check_invariants: walks all tables and says what in them contradicts itself. For tests, the
// simulator and the offline checker; it keeps all inodes in memory.
//
// Checked: every row parses and its key agrees with it; every name leads to an inode of its type;
// link counts equal the names (directories: 2 + subdirectories); directories have one name, its
// parent field is true and every directory hangs on the root; orphans are exactly the regular files
// without a name; xattr sums; blocks; chunk map, open chunks, degraded chunks, reverse index, piece
// counts and removals agree with the chunks both ways; every chunk keeps enough pieces to be read,
// and only missing ones miss regions; leases agree with the inodes both ways and with the sessions;
// replies belong to sessions and are inside their window; what is to be converted is a file with a
// name whose data has another encoding than its policy; counters are true and above every id in
// use.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/kv/kv.h"

namespace cairn::mds::state {

// One sentence for each contradiction, at most `limit` of them; empty when all is well.
// Errors: those of the reader.
Result<std::vector<std::string>> check_invariants(const kv::Reader& reader,
                                                  std::size_t limit = 100);

}  // namespace cairn::mds::state
