// Messages between MDS as bytes of a pb::PeerEnvelope, and back. Pure.
//
// Promises: decode(encode(m)) is m for every message that the consensus core makes; anything else
//           that arrives is an error and never a crash: unknown bodies and value kinds, missing
//           ballots and slots, lists that run backwards or past the last slot. No blob of a decoded
//           message is null.
// Limits:   kSlotMax. What a message may weigh is the transport's matter
//           (rpc::kStreamMessageBytesMax).
// Errors:   kProtocol.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "common/base/result.h"
#include "mds/paxos/types.h"
#include "proto/mds_peer.pb.h"

namespace cairn::mds::replication {

// Far below the end of the numbers: slot arithmetic never overflows.
inline constexpr Slot kSlotMax = Slot(std::uint64_t{1} << 62);

using PeerMessage = std::variant<paxos::Message, pb::PeerReport>;

std::string encode_peer_message(const paxos::Message& message);
std::string encode_peer_report(const pb::PeerReport& report);
Result<PeerMessage> decode_peer_message(std::string_view bytes);

}  // namespace cairn::mds::replication
