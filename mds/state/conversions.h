// Conversions: which files wait for their data to be brought into another encoding (table Y).
// Rules: docs/protocols/conversion.md; who adds rows: ops/set_policy.cpp, who needs them:
// ops/make_shadow.cpp and ops/swap_data.cpp.
//
// A row is only there for a regular file with a name, whose data has another encoding than its
// policy; the encoding of the row is that of the policy.
#pragma once

#include <cstdint>

#include "common/base/ids.h"
#include "mds/state/tables.h"

namespace cairn::mds::state {

// Chunks of each file that one SwapData exchanges: it is one command, and one batch of the tables.
inline constexpr std::uint64_t kSwapChunksMax = 65'536;

inline bool same_encoding(const pb::Encoding& a, const pb::Encoding& b) {
  return a.data() == b.data() && a.parity() == b.parity() && a.min() == b.min();
}

// The data of the file could be exchanged for the same in encoding `to`, as far as can be told.
// Errors:   kTooBig: too many chunks, now or then.
Status check_convertible(const pb::InodeRecord& file, const pb::Encoding& to);

// The row of a file that is to be converted.
// Errors:   kNotFound: it is not.
Result<pb::ConversionRecord> load_conversion(Tables& tables, InodeId id);
// Takes the row away if there is one.
Status drop_conversion(Tables& tables, InodeId id);

}  // namespace cairn::mds::state
