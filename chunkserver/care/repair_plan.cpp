#include "chunkserver/care/repair_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"

namespace cairn::chunkserver::care {
namespace {

using erasure::PieceMask;
using store::BlockRange;

// Half of what a piece holds undecided: there is room for the ops that it has.
constexpr std::uint64_t kStepsMax = store::kPendingOpsMax / 2;

std::unexpected<Error> nonsense(const std::string& why) {
  return fail(Code::kInvalidArgument, "REPAIR: " + why);
}

// Zeros cost nothing, and of the others data pieces decode fastest.
unsigned cost_of(const RepairSource& source, unsigned data) {
  if (source.unwritten) return 0;
  return source.piece < data ? 1 : 2;
}

bool is_zero(Bytes bytes) {
  return load_le<std::uint64_t>(bytes.data()) == 0 &&
         std::memcmp(bytes.data(), bytes.data() + 8, bytes.size() - 8) == 0;
}

// In order, apart, as few as possible.
std::vector<BlockRange> united(std::vector<BlockRange> ranges) {
  std::ranges::sort(ranges, {}, &BlockRange::first);
  std::vector<BlockRange> out;
  for (const BlockRange& range : ranges) {
    if (range.count == 0) continue;
    if (out.empty() || out.back().end() < range.first) {
      out.push_back(range);
    } else {
      out.back().count = std::max(out.back().end(), range.end()) - out.back().first;
    }
  }
  return out;
}

std::vector<BlockRange> ranges_of(layout::RegionMask regions, std::uint64_t piece_blocks) {
  std::vector<BlockRange> ranges;
  for (const layout::BlockRun& run : layout::blocks_of(regions, piece_blocks)) {
    ranges.push_back({run.first, run.count});
  }
  return ranges;
}

Status add_sources(const pb::Chunk& chunk, std::uint32_t own_cs, RepairPlan* plan) {
  for (unsigned i = 0; i < plan->encoding.pieces(); ++i) {
    const pb::Piece& other = chunk.pieces(static_cast<int>(i));
    if (other.index() != i) return nonsense("pieces out of order");
    if (i == plan->piece.index.raw()) {
      if (other.cs_id() != own_cs) return nonsense("the piece has its place somewhere else");
      if (other.state() != pb::PIECE_MISSING) return nonsense("the piece is not missing");
      continue;
    }
    if (other.cs_id() == own_cs) return nonsense("two pieces of a chunk at one chunk server");
    if (other.state() == pb::PIECE_UNWRITTEN) {
      plan->sources.push_back({i, {}, true});
    } else if (other.state() != pb::PIECE_CURRENT) {
      plan->absent.push_back(fmt::format("piece {} is missing", i));
    } else if (other.address().empty()) {
      plan->absent.push_back(fmt::format("piece {} is at CS {}, which is away", i, other.cs_id()));
    } else {
      plan->sources.push_back({i, other.address(), false});
    }
  }
  std::ranges::stable_sort(plan->sources, {}, [data = plan->encoding.data](const RepairSource& s) {
    return cost_of(s, data);
  });
  return {};
}

}  // namespace

Result<RepairPlan> plan_repair(const pb::Repair& request, std::uint32_t own_cs) {
  const pb::Chunk& chunk = request.chunk();
  RepairPlan plan;
  const Result<erasure::Encoding> encoding = erasure::Encoding::make(
      chunk.encoding().data(), chunk.encoding().parity(), chunk.encoding().min());
  if (!encoding.has_value()) return nonsense(encoding.error().message());
  plan.encoding = *encoding;
  if (chunk.id() == 0) return nonsense("no chunk");
  if (chunk.pieces_size() != static_cast<int>(plan.encoding.pieces()) ||
      request.piece() >= plan.encoding.pieces()) {
    return nonsense(fmt::format("piece {} of {} pieces of {}", request.piece(), chunk.pieces_size(),
                                plan.encoding.to_string()));
  }
  plan.piece = {ChunkId::from_raw(chunk.id()),
                PieceIndex(static_cast<std::uint8_t>(request.piece()))};
  plan.piece_blocks = chunk.piece_bytes() / kBlockBytes;
  const bool fits = chunk.piece_bytes() % kBlockBytes == 0 && plan.piece_blocks != 0 &&
                    plan.piece_blocks <= store::kPieceBlocksMax;
  if (!fits || request.blocks() > plan.piece_blocks) {
    return nonsense(
        fmt::format("{} blocks of a piece of {} bytes", request.blocks(), chunk.piece_bytes()));
  }
  if (request.version() <= chunk.version() || request.epoch() == 0) {
    return nonsense(fmt::format("version {} epoch {} for a chunk of version {}", request.version(),
                                request.epoch(), chunk.version()));
  }
  plan.source_version = ChunkVersion(chunk.version());
  plan.version = ChunkVersion(request.version());
  plan.epoch = LeaseEpoch(request.epoch());
  plan.first_seq = OpSeq(std::max<std::uint64_t>(request.first_seq(), 1));
  plan.whole = request.whole();
  plan.regions = plan.whole ? layout::kAllRegions : request.regions();
  plan.facts = {erasure::kGeneratorVersion, plan.encoding.data, plan.encoding.parity,
                chunk.cell_bytes(),         chunk.inode(),      chunk.index()};
  TRY_VOID(add_sources(chunk, own_cs, &plan));
  return plan;
}

std::vector<BlockRange> blocks_to_copy(const RepairPlan& plan,
                                       const std::vector<BlockRange>& undecided) {
  std::vector<BlockRange> all = ranges_of(plan.regions, plan.piece_blocks);
  layout::RegionMask touched = plan.regions;
  for (const BlockRange& range : undecided) {
    if (range.first >= plan.piece_blocks || range.count == 0) continue;
    const std::uint64_t count = std::min(range.count, plan.piece_blocks - range.first);
    all.push_back({range.first, count});
    touched |= layout::regions_of({range.first, count}, plan.piece_blocks);
  }
  std::vector<BlockRange> exact = united(std::move(all));
  if (exact.size() <= layout::kRegions) return exact;
  return ranges_of(touched, plan.piece_blocks);
}

RepairSteps::RepairSteps(std::vector<BlockRange> ranges, unsigned data)
    : ranges_(std::move(ranges)) {
  const std::uint64_t least = div_ceil(store::total_blocks(ranges_), kStepsMax);
  blocks_ = std::clamp(least, kRepairStepBlocks, store::kPrepareBlocksMax);
  blocks_of_holes_ =
      std::clamp(kRepairSourceBlocksMax / data, blocks_, std::max(blocks_, store::kReadBlocksMax));
}

std::vector<BlockRange> RepairSteps::next() {
  std::vector<BlockRange> step;
  std::uint64_t left = empty_ ? blocks_of_holes_ : blocks_;
  while (left != 0 && at_ != ranges_.size()) {
    const BlockRange& range = ranges_[at_];
    const std::uint64_t count = std::min(left, range.count - done_);
    step.push_back({range.first + done_, count});
    left -= count;
    done_ += count;
    if (done_ != range.count) continue;
    ++at_;
    done_ = 0;
  }
  return step;
}

std::vector<std::uint64_t> blocks_of(const std::vector<BlockRange>& ranges) {
  std::vector<std::uint64_t> blocks;
  blocks.reserve(store::total_blocks(ranges));
  for (const BlockRange& range : ranges) {
    for (std::uint64_t block = range.first; block < range.end(); ++block) blocks.push_back(block);
  }
  return blocks;
}

StepContent::StepContent(const erasure::Encoding& encoding, std::vector<std::uint64_t> blocks)
    : encoding_(encoding),
      blocks_(std::move(blocks)),
      pieces_(encoding.pieces()),
      zero_block_(Buffer::zeroed(kBlockBytes)) {}

void StepContent::add_zeros(unsigned piece) { pieces_[piece].zeros = true; }

void StepContent::add(unsigned piece, std::vector<Buffer> content) {
  CHECK_EQ(content.size(), blocks_.size());
  pieces_[piece].content = std::move(content);
}

unsigned StepContent::lacking() const {
  unsigned most = 0;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const auto have = static_cast<unsigned>(
        std::ranges::count_if(pieces_, [i](const Piece& piece) { return piece.has(i); }));
    if (have < encoding_.data) most = std::max(most, encoding_.data - have);
  }
  return most;
}

bool StepContent::build_block(const erasure::Codec& codec, unsigned wanted, std::size_t i,
                              MutableBytes into) {
  std::array<std::byte*, limits::kPiecesPerChunkMax> from{};
  PieceMask have = 0;
  bool zeros = true;
  unsigned count = 0;
  for (unsigned p = 0; p < pieces_.size() && count < encoding_.data; ++p) {
    if (p == wanted || !pieces_[p].has(i)) continue;
    Buffer& block = pieces_[p].zeros ? zero_block_ : pieces_[p].content[i];
    from[p] = block.data();
    have |= PieceMask{1} << p;
    ++count;
    zeros = zeros && is_zero(std::as_const(block).span());
  }
  if (zeros) return false;  // so is what they make
  from[wanted] = into.data();
  const Status built = codec.rebuild(have, PieceMask{1} << wanted,
                                     std::span(from.data(), pieces_.size()), kBlockBytes);
  CHECK(built.has_value());
  return !is_zero(into);
}

StepContent::Built StepContent::build(const erasure::Codec& codec, unsigned wanted) {
  Built built;
  Buffer body = Buffer::allocate(blocks_.size() * kBlockBytes);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const std::size_t at = built.crcs.size() * kBlockBytes;
    const MutableBytes into = body.span().subspan(at, kBlockBytes);
    if (!build_block(codec, wanted, i, into)) continue;
    built.crcs.push_back(crc32c(into));
    if (!built.writes.empty() && built.writes.back().end() == blocks_[i]) {
      ++built.writes.back().count;
    } else {
      built.writes.push_back({blocks_[i], 1});
    }
  }
  built.body = body.slice(0, built.crcs.size() * kBlockBytes);
  return built;
}

}  // namespace cairn::chunkserver::care
