// Store calls: what a call of the model is to a PieceStore, and what of a piece can be seen through
// one. Every byte and every CRC of an answer is checked here.
#pragma once

#include "chunkserver/store/piece_store.h"
#include "chunkserver/testing/judge.h"

namespace cairn::chunkserver::testing {

// The blocks of a piece that the tests use: they straddle the border of two segments.
inline constexpr std::uint64_t kAreaFirst = 250;
inline constexpr std::uint64_t kAreaBlocks = 16;

store::PieceFacts facts_of(PieceId piece);

// `broken` tells what is wrong with an answer by itself (bytes that nobody wrote, a CRC that does
// not fit); empty when nothing is.
Task<CallAnswer> issue(store::PieceStore* store, PieceId piece, const ModelCall* call,
                       std::string* broken);

// Through a read of everything, status() and a seal at what the piece has seen already. Errors:
// those of the calls.
Task<Result<PieceSight>> look(store::PieceStore* store, PieceId piece, std::string* broken);

template <class Blocks, class BlockOf>
std::vector<store::BlockRange> ranges_of(const Blocks& blocks, BlockOf block_of) {
  std::vector<store::BlockRange> ranges;
  for (const auto& entry : blocks) {
    const std::uint64_t block = block_of(entry);
    if (!ranges.empty() && ranges.back().end() == block) {
      ++ranges.back().count;
    } else {
      ranges.push_back({block, 1});
    }
  }
  return ranges;
}
inline std::vector<store::BlockRange> ranges_of(const BlockValues& blocks) {
  return ranges_of(blocks, [](const auto& entry) { return entry.first; });
}
inline std::vector<store::BlockRange> ranges_of(const std::set<std::uint64_t>& blocks) {
  return ranges_of(blocks, [](std::uint64_t block) { return block; });
}

}  // namespace cairn::chunkserver::testing
