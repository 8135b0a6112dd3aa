// ScrubState: how far the scrub's rotation is, as a small text file. Losing it costs nothing but a
// new round. Pure.
//
//   cairn scrub 1
//   after 12af 3              last piece verified (chunk in hex, piece); "after none": at the start
//   verified 17               pieces of this round
//   began 1718000000000000000     this round, wall clock, ns
//   ended 0                       the last whole round; 0: none yet
//   crc 0a1b2c3d                  CRC32C of all lines above
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/result.h"

namespace cairn::chunkserver::care {

struct ScrubState {
  std::optional<PieceId> after;
  std::uint64_t verified = 0;
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = 0;
  friend bool operator==(const ScrubState&, const ScrubState&) = default;
};

std::string encode_scrub_state(const ScrubState& state);
// Error: kCorrupt.
Result<ScrubState> decode_scrub_state(std::string_view text);

}  // namespace cairn::chunkserver::care
