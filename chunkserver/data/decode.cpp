#include "chunkserver/data/decode.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/crc32c.h"
#include "common/base/limits.h"

namespace cairn::chunkserver::data {
namespace {

Result<std::vector<std::uint32_t>> decode_crcs(const std::string& bytes, std::uint64_t blocks) {
  if (bytes.size() != blocks * sizeof(std::uint32_t)) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} bytes of checksums for {} blocks", bytes.size(), blocks));
  }
  std::vector<std::uint32_t> crcs(blocks);
  const Bytes raw = as_bytes(bytes);
  for (std::size_t i = 0; i < crcs.size(); ++i) {
    crcs[i] = load_le<std::uint32_t>(raw.data() + i * sizeof(std::uint32_t));
  }
  return crcs;
}

Status check_apart(const std::vector<store::BlockRange>& a,
                   const std::vector<store::BlockRange>& b) {
  std::size_t j = 0;
  for (const store::BlockRange& range : a) {
    while (j < b.size() && b[j].end() <= range.first) ++j;
    if (j < b.size() && b[j].first < range.end()) {
      return fail(Code::kInvalidArgument, fmt::format("block {} is changed in two ways",
                                                      std::max(range.first, b[j].first)));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<store::BlockRange>> decode_ranges(const RangeField& ranges,
                                                     std::uint64_t blocks_max) {
  if (static_cast<std::size_t>(ranges.size()) > store::kRangesMax) {
    return fail(Code::kInvalidArgument, fmt::format("{} ranges in one request", ranges.size()));
  }
  std::vector<store::BlockRange> out;
  out.reserve(static_cast<std::size_t>(ranges.size()));
  std::uint64_t total = 0;
  for (const pb::BlockRange& range : ranges) {
    const bool inside = range.count() != 0 && range.first() < store::kPieceBlocksMax &&
                        range.count() <= store::kPieceBlocksMax - range.first();
    if (!inside || (!out.empty() && range.first() < out.back().end())) {
      return fail(Code::kInvalidArgument,
                  fmt::format("block range {} + {} is empty, unsorted or outside the piece",
                              range.first(), range.count()));
    }
    total += range.count();
    out.push_back({range.first(), range.count()});
  }
  if (total > blocks_max) {
    return fail(Code::kInvalidArgument, fmt::format("{} blocks in one request", total));
  }
  return out;
}

Result<PieceId> decode_piece(std::uint64_t chunk, std::uint32_t piece) {
  if (chunk == 0 || piece >= limits::kPiecesPerChunkMax) {
    return fail(Code::kInvalidArgument, fmt::format("piece {} of chunk {}", piece, chunk));
  }
  return PieceId{ChunkId::from_raw(chunk), PieceIndex(static_cast<std::uint8_t>(piece))};
}

Result<store::PrepareRequest> decode_prepare(const std::string& meta, Bytes body) {
  pb::Prepare prepare;
  if (!prepare.ParseFromString(meta)) return fail(Code::kProtocol, "undecodable PREPARE");
  store::PrepareRequest request;
  TRY(request.piece, decode_piece(prepare.chunk(), prepare.piece()));
  if (prepare.seq() == 0) return fail(Code::kInvalidArgument, "an op has a number from 1");
  request.version = ChunkVersion(prepare.version());
  request.op = {LeaseEpoch(prepare.epoch()), OpSeq(prepare.seq())};
  request.settled_below = OpSeq(prepare.settled_below());
  request.participants = prepare.participants();
  request.create = prepare.create();
  request.facts = {prepare.generator(),  prepare.data(),  prepare.parity(),
                   prepare.cell_bytes(), prepare.inode(), prepare.chunk_index()};
  TRY(request.writes, decode_ranges(prepare.writes(), store::kPrepareBlocksMax));
  TRY(request.zeroes, decode_ranges(prepare.zeroes(), store::kPieceBlocksMax));
  TRY(request.deltas, decode_ranges(prepare.deltas(), store::kPrepareBlocksMax));
  TRY_VOID(check_apart(request.writes, request.zeroes));
  TRY_VOID(check_apart(request.writes, request.deltas));
  TRY_VOID(check_apart(request.zeroes, request.deltas));
  request.unaligned = prepare.unaligned();
  const std::uint64_t blocks =
      store::total_blocks(request.writes) + store::total_blocks(request.deltas);
  if (blocks > store::kPrepareBlocksMax) {
    return fail(Code::kInvalidArgument, fmt::format("{} blocks in one PREPARE", blocks));
  }
  if (body.size() != blocks * kBlockBytes) {
    return fail(Code::kInvalidArgument,
                fmt::format("a body of {} bytes for {} blocks", body.size(), blocks));
  }
  TRY(request.crcs, decode_crcs(prepare.crcs(), blocks));
  for (std::size_t i = 0; i < request.crcs.size(); ++i) {
    if (crc32c(body.subspan(i * kBlockBytes, kBlockBytes)) == request.crcs[i]) continue;
    return fail(Code::kChecksumMismatch,
                fmt::format("block {} of a PREPARE for piece {}.{} arrived damaged", i,
                            prepare.chunk(), prepare.piece()));
  }
  return request;
}

void encode_ranges(const std::vector<store::BlockRange>& ranges, RangeField* out) {
  out->Reserve(static_cast<int>(ranges.size()));
  for (const store::BlockRange& range : ranges) {
    pb::BlockRange* one = out->Add();
    one->set_first(range.first);
    one->set_count(static_cast<std::uint32_t>(range.count));
  }
}

std::string encode_crcs(const std::vector<std::uint32_t>& crcs) {
  std::string bytes(crcs.size() * sizeof(std::uint32_t), '\0');
  if (!crcs.empty()) std::memcpy(bytes.data(), crcs.data(), bytes.size());
  return bytes;
}

}  // namespace cairn::chunkserver::data
