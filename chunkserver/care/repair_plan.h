// RepairPlan: what an OP_REPAIR asks for, checked: the piece, where its chunk's other pieces are,
// which blocks are to be copied and in which steps; and one step's blocks, built from what the
// sources sent. Pure. docs/protocols/data-path.md, "Repair".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/care/peer_reader.h"
#include "chunkserver/store/types.h"
#include "common/base/result.h"
#include "common/erasure/codec.h"
#include "common/erasure/encoding.h"
#include "common/layout/regions.h"
#include "proto/data_plane.pb.h"

namespace cairn::chunkserver::care {

// Blocks of a step: a copy of each from M sources is in memory. When a step was all holes, the next
// one may be larger.
inline constexpr std::uint64_t kRepairStepBlocks = 1_MiB / kBlockBytes;
// Blocks of all sources of one step together.
inline constexpr std::uint64_t kRepairSourceBlocksMax = 16_MiB / kBlockBytes;

// Another piece of the chunk that is current or unwritten.
struct RepairSource {
  unsigned piece = 0;
  std::string address;
  bool unwritten = false;  // zeros, and nothing to read
};

struct RepairPlan {
  erasure::Encoding encoding;
  PieceId piece;
  ChunkVersion source_version;  // of the other pieces
  ChunkVersion version;         // of ours, afterwards
  LeaseEpoch epoch;
  OpSeq first_seq;
  layout::RegionMask regions = 0;
  bool whole = false;
  std::uint64_t piece_blocks = 0;
  store::PieceFacts facts;
  std::vector<RepairSource> sources;  // in the order in which they should be read
  std::vector<std::string> absent;    // why pieces of the chunk are no sources
};

// Errors: kInvalidArgument (it makes no sense, or our piece is not the one to be repaired).
Result<RepairPlan> plan_repair(const pb::Repair& request, std::uint32_t own_cs);

// What the copy covers: the regions, and what the piece has undecided. Sorted, apart, at most
// layout::kRegions ranges: when there are more, whole regions.
std::vector<store::BlockRange> blocks_to_copy(const RepairPlan& plan,
                                              const std::vector<store::BlockRange>& undecided);

// Cuts ranges into steps.
class RepairSteps {
 public:
  // Steps are not so small that the ops of a copy would be too many for a piece.
  RepairSteps(std::vector<store::BlockRange> ranges, unsigned data);
  // Empty: there are no more.
  std::vector<store::BlockRange> next();
  // The last step that was looked at had no block at all: the next one is larger.
  void was_empty(bool empty) { empty_ = empty; }

 private:
  std::vector<store::BlockRange> ranges_;
  std::size_t at_ = 0;
  std::uint64_t done_ = 0;  // blocks of ranges_[at_]
  std::uint64_t blocks_;
  std::uint64_t blocks_of_holes_;
  bool empty_ = false;
};

// Sorted blocks, one by one.
std::vector<std::uint64_t> blocks_of(const std::vector<store::BlockRange>& ranges);

// What the sources sent of a step's blocks, by piece index; nothing: not asked, or it failed.
class StepContent {
 public:
  StepContent(const erasure::Encoding& encoding, std::vector<std::uint64_t> blocks);
  void add_zeros(unsigned piece);
  // `content` in the order of the blocks; empty buffers: it does not have that one.
  void add(unsigned piece, std::vector<Buffer> content);
  // So many sources more are needed for some block.
  unsigned lacking() const;

  struct Built {
    std::vector<store::BlockRange> writes;
    std::vector<std::uint32_t> crcs;
    Buffer body;
  };
  // The blocks of piece `wanted` that are not all zeros. Requires: nothing is lacking.
  Built build(const erasure::Codec& codec, unsigned wanted);
  const std::vector<std::uint64_t>& blocks() const { return blocks_; }

 private:
  struct Piece {
    bool zeros = false;
    std::vector<Buffer> content;
    bool has(std::size_t i) const { return zeros || (!content.empty() && !content[i].empty()); }
  };
  // False: the block is a hole.
  bool build_block(const erasure::Codec& codec, unsigned wanted, std::size_t i, MutableBytes into);

  erasure::Encoding encoding_;
  std::vector<std::uint64_t> blocks_;
  std::vector<Piece> pieces_;
  Buffer zero_block_;
};

}  // namespace cairn::chunkserver::care
