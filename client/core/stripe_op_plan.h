// StripePlan: what an op must read before its parity can be computed (docs/protocols/data-path.md,
// "Old bytes, deltas"): the cache, the blocks read so far and the chunk's map as layout::RowPlan
// sees them. Pure.
//
// Requires: the stripe's lock: nothing of the stripe is claimed, no op of it is under way.
#pragma once

#include <cstdint>

#include "client/core/file_cache.h"
#include "client/core/stripe_op.h"
#include "common/base/result.h"

namespace cairn::client {

// Of the source's rows, with what is at hand now. Errors: kTooFewPieces.
Result<layout::RowPlan> plan_stripe(const FileCache& cache, const StripeSource& source);
// Rebuilds what the plan's decodes have all sources for, into `source.old`: true when there was
// something; then the rows have to be planned again. Requires: `source.plan` reads nothing.
bool rebuild_old(const FileCache& cache, StripeSource& source);
// A block as it is at the chunk servers, or null when it is not at hand.
const std::byte* old_bytes(const FileCache& cache, const StripeSource& source, unsigned piece,
                           std::uint64_t row);
// 4 KiB of zeros.
const std::byte* zero_block();

}  // namespace cairn::client
