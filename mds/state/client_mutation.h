// A mutation of a client, done once: a repeat of (session, seq) gets the stored reply.
#pragma once

#include <cstdint>

#include "mds/state/tables.h"

namespace cairn::mds::state {

// How far the seq of a session may run ahead of answered_below. It bounds the stored replies, and
// is wider than kSessionRequestsInFlightMax because one mutation may wait long (for a recalled
// lease) while others are answered.
inline constexpr std::uint64_t kReplyWindow = 8192;

// Numbers from here on are the master's, which gives leases back in the name of a session that
// ends: they are executed each time, and no reply is stored.
inline constexpr std::uint64_t kMasterSeqs = 1ULL << 63;

// Puts the reply into `reply.client` and stores it, refusal or not; a refused mutation changes
// nothing else. Errors, with nothing stored: kSessionGone; kProtocol (no mutation, seq 0 or already
// forgotten); kOverloaded (seq is kReplyWindow or more past what is answered: send it again later).
Status client_mutation(Tables& tables, const pb::ClientMutation& mutation, std::int64_t time_ns,
                       pb::CommandReply& reply);

}  // namespace cairn::mds::state
