// Decoding of data-plane requests: from the meta of a frame to what the store takes, everything
// checked. Pure. Error: kInvalidArgument (a client's bug), kProtocol (undecodable),
// kChecksumMismatch.
#pragma once

#include <string>
#include <vector>

#include "chunkserver/store/piece_store.h"
#include "common/base/buffer.h"
#include "common/base/result.h"
#include "proto/data_plane.pb.h"

namespace cairn::chunkserver::data {

using RangeField = google::protobuf::RepeatedPtrField<pb::BlockRange>;

// Sorted, disjoint, not empty, inside a piece, at most `blocks_max` blocks in all.
Result<std::vector<store::BlockRange>> decode_ranges(const RangeField& ranges,
                                                     std::uint64_t blocks_max);
Result<PieceId> decode_piece(std::uint64_t chunk, std::uint32_t piece);
// `body` has the blocks of the writes, then those of the deltas; their CRCs are verified. No block
// is named twice.
Result<store::PrepareRequest> decode_prepare(const std::string& meta, Bytes body);

void encode_ranges(const std::vector<store::BlockRange>& ranges, RangeField* out);
std::string encode_crcs(const std::vector<std::uint32_t>& crcs);

}  // namespace cairn::chunkserver::data
