#include "chunkserver/care/heal_sources.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::chunkserver::care {
namespace {

constexpr std::size_t kRangesShown = 8;

std::unexpected<Error> not_ours(PieceId piece, const char* why) {
  return fail(Code::kPieceMissing,
              fmt::format("piece {}.{}: {}", piece.chunk.raw(), piece.index.raw(), why));
}

// Zeros cost nothing, and of the others data pieces decode fastest.
unsigned cost_of(const HealSource& source, unsigned data) {
  if (source.unwritten) return 0;
  return source.piece < data ? 1 : 2;
}

}  // namespace

std::vector<std::byte*> HealSources::block(std::size_t nth) {
  std::vector<std::byte*> blocks(encoding.pieces(), nullptr);
  for (HealSource& source : sources) {
    if (!source.answer.has_value() || !source.answer->has_value()) continue;
    Buffer& bytes = (*source.answer)->blocks[nth];
    if (!bytes.empty()) blocks[source.piece] = bytes.data();
  }
  return blocks;
}

unsigned HealSources::answered() const {
  return static_cast<unsigned>(
      std::count_if(sources.begin(), sources.end(), [](const HealSource& source) {
        return source.answer.has_value() && source.answer->has_value();
      }));
}

Result<HealSources> find_sources(const pb::Chunk& chunk, PieceId piece, std::uint32_t cs_id,
                                 std::size_t blocks, const Buffer& zero_block) {
  if (chunk.id() != piece.chunk.raw()) return fail(Code::kCorrupt, "the answer is another chunk");
  HealSources found;
  TRY(found.encoding, erasure::Encoding::make(chunk.encoding().data(), chunk.encoding().parity(),
                                              chunk.encoding().min()));
  found.version = ChunkVersion(chunk.version());
  if (chunk.pieces_size() != static_cast<int>(found.encoding.pieces()) ||
      piece.index.raw() >= found.encoding.pieces()) {
    return fail(Code::kCorrupt, fmt::format("chunk {} of {} has {} pieces", chunk.id(),
                                            found.encoding.to_string(), chunk.pieces_size()));
  }
  for (unsigned i = 0; i < found.encoding.pieces(); ++i) {
    const pb::Piece& other = chunk.pieces(static_cast<int>(i));
    if (other.index() != i) return fail(Code::kCorrupt, "pieces out of order");
    if (i == piece.index.raw()) {
      if (other.cs_id() != cs_id) return not_ours(piece, "the master has it somewhere else");
      if (other.state() != pb::PIECE_CURRENT) return not_ours(piece, "the master dropped it");
      continue;
    }
    HealSource source;
    source.piece = i;
    source.address = other.address();
    if (other.state() == pb::PIECE_UNWRITTEN) {
      source.unwritten = true;
      PeerBlocks zeros;
      zeros.blocks.assign(blocks, zero_block);
      source.answer = std::move(zeros);
      found.sources.push_back(std::move(source));
    } else if (other.state() != pb::PIECE_CURRENT) {
      found.absent.push_back(fmt::format("piece {} is missing", i));
    } else if (other.address().empty()) {
      found.absent.push_back(fmt::format("piece {} is at CS {}, which is away", i, other.cs_id()));
    } else {
      found.sources.push_back(std::move(source));
    }
  }
  std::stable_sort(found.sources.begin(), found.sources.end(),
                   [data = found.encoding.data](const HealSource& a, const HealSource& b) {
                     return cost_of(a, data) < cost_of(b, data);
                   });
  return found;
}

std::string describe_blocks(const std::vector<store::DamagedBlock>& blocks) {
  std::string text;
  std::size_t shown = 0;
  for (std::size_t i = 0; i < blocks.size();) {
    std::size_t last = i;
    while (last + 1 < blocks.size() && blocks[last + 1].block == blocks[last].block + 1) ++last;
    if (++shown > kRangesShown) return text + ", ...";
    text += shown == 1 ? "" : ", ";
    text += i == last ? fmt::format("{}", blocks[i].block)
                      : fmt::format("{}-{}", blocks[i].block, blocks[last].block);
    i = last + 1;
  }
  return text;
}

std::string describe_used(const HealSources& sources, erasure::PieceMask used) {
  std::string text;
  for (unsigned i = 0; i < sources.encoding.pieces(); ++i) {
    if ((used >> i & 1U) == 0) continue;
    const auto at = std::find_if(sources.sources.begin(), sources.sources.end(),
                                 [i](const HealSource& source) { return source.piece == i; });
    if (at == sources.sources.end()) continue;
    text += text.empty() ? "" : ", ";
    text += fmt::format("{} ({})", i, at->unwritten ? "unwritten" : at->address);
  }
  return "pieces " + text;
}

std::string describe_lacking(const HealSources& sources) {
  std::string text;
  const auto add = [&text](const std::string& line) {
    text += text.empty() ? "" : "; ";
    text += line;
  };
  for (const std::string& line : sources.absent) add(line);
  for (const HealSource& source : sources.sources) {
    if (!source.answer.has_value()) continue;
    if (!source.answer->has_value()) {
      add(fmt::format("piece {} at {}: {}", source.piece, source.address,
                      source.answer->error().to_string()));
    } else if ((*source.answer)->trouble.has_value()) {
      add(fmt::format("piece {} at {} in part: {}", source.piece, source.address,
                      (*source.answer)->trouble->to_string()));
    }
  }
  if (sources.encoding.pieces() == 1) return "the chunk has one piece only";
  return text.empty() ? "no piece is missing" : text;
}

}  // namespace cairn::chunkserver::care
