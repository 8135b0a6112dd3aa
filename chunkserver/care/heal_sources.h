// HealSources: where the other pieces of a damaged piece's chunk are, what was read of them, and
// the words for people about it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/care/damage_ledger.h"
#include "chunkserver/care/peer_reader.h"
#include "common/base/result.h"
#include "common/erasure/codec.h"
#include "common/erasure/encoding.h"
#include "proto/types.pb.h"

namespace cairn::chunkserver::care {

// Another piece of the chunk.
struct HealSource {
  unsigned piece = 0;
  std::string address;
  bool unwritten = false;  // zeros, and nothing to read
  // It was asked, and said this. Of an unwritten piece: zeros.
  std::optional<Result<PeerBlocks>> answer;
};

struct HealSources {
  erasure::Encoding encoding;
  ChunkVersion version;
  std::vector<HealSource> sources;  // in the order in which they should be read
  std::vector<std::string> absent;  // why pieces of the chunk are no sources

  // The sources' blocks number `nth` of those read, by piece; nullptr: not there.
  std::vector<std::byte*> block(std::size_t nth);
  // Sources that answered some of it.
  unsigned answered() const;
};

// Errors: kPieceMissing (the master does not count our piece, or the chunk is gone), kCorrupt (what
// it says makes no sense).
Result<HealSources> find_sources(const pb::Chunk& chunk, PieceId piece, std::uint32_t cs_id,
                                 std::size_t blocks, const Buffer& zero_block);

// "4, 7-9": ascending blocks.
std::string describe_blocks(const std::vector<store::DamagedBlock>& blocks);
// "pieces 0 (10.0.0.1:2600), 2 (10.0.0.3:2600)".
std::string describe_used(const HealSources& sources, erasure::PieceMask used);
// "piece 1 is missing; piece 4 at 10.0.0.5:2600: timeout (500)".
std::string describe_lacking(const HealSources& sources);

}  // namespace cairn::chunkserver::care
