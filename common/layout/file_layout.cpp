#include "common/layout/file_layout.h"

#include <algorithm>

#include "common/base/check.h"

namespace cairn::layout {
namespace {

constexpr ByteCount kPieceBytesMax = 4_GiB;

}  // namespace

Result<FileLayout> FileLayout::make(erasure::Encoding encoding, ByteCount cell_bytes,
                                    ByteCount piece_bytes) {
  TRY(const erasure::Encoding checked,
      erasure::Encoding::make(encoding.data, encoding.parity, encoding.min));
  if (cell_bytes == 0 || cell_bytes % kBlockBytes != 0) {
    return fail(Code::kInvalidArgument, "a cell of " + std::to_string(cell_bytes) +
                                            " bytes is not a positive multiple of 4096");
  }
  if (piece_bytes == 0 || piece_bytes % cell_bytes != 0) {
    return fail(Code::kInvalidArgument, "a piece of " + std::to_string(piece_bytes) +
                                            " bytes is not a positive multiple of its cell of " +
                                            std::to_string(cell_bytes));
  }
  if (piece_bytes > kPieceBytesMax) {
    return fail(Code::kInvalidArgument,
                "a piece of " + std::to_string(piece_bytes) + " bytes is larger than 4 GiB");
  }
  FileLayout layout;
  layout.encoding_ = checked;
  layout.cell_bytes_ = cell_bytes;
  layout.piece_bytes_ = piece_bytes;
  return layout;
}

std::vector<CellRange> FileLayout::map(ChunkOffset offset, ByteCount length) const {
  CHECK_LE(offset.raw(), chunk_bytes());
  CHECK_LE(length, chunk_bytes() - offset.raw());
  std::vector<CellRange> ranges;
  if (length == 0) return ranges;
  const std::uint64_t end = offset.raw() + length;
  ranges.reserve(div_ceil(end, cell_bytes_) - offset.raw() / cell_bytes_);
  for (std::uint64_t at = offset.raw(); at < end;) {
    const std::uint64_t in_cell = at % cell_bytes_;
    const ByteCount n = std::min(cell_bytes_ - in_cell, end - at);
    const std::uint64_t stripe = at / stripe_bytes();
    ranges.push_back({.piece = static_cast<std::uint8_t>(at % stripe_bytes() / cell_bytes_),
                      .stripe = stripe,
                      .chunk_offset = ChunkOffset(at),
                      .piece_offset = PieceOffset(stripe * cell_bytes_ + in_cell),
                      .length = n});
    at += n;
  }
  return ranges;
}

ChunkOffset FileLayout::unmap(std::uint8_t piece, PieceOffset offset) const {
  CHECK_LT(unsigned{piece}, unsigned{encoding_.data});
  CHECK_LT(offset.raw(), piece_bytes_);
  const std::uint64_t stripe = offset.raw() / cell_bytes_;
  return ChunkOffset(stripe * stripe_bytes() + piece * cell_bytes_ + offset.raw() % cell_bytes_);
}

std::uint64_t FileLayout::blocks_of_piece(unsigned piece, ByteCount chunk_length) const {
  CHECK_LT(piece, encoding_.pieces());
  CHECK_LE(chunk_length, chunk_bytes());
  const std::uint64_t whole = chunk_length / stripe_bytes() * cell_bytes_;
  const ByteCount rest = chunk_length % stripe_bytes();
  // Parity covers what the longest data cell of the row, the first, has.
  const ByteCount before = piece < encoding_.data ? piece * cell_bytes_ : 0;
  const ByteCount last = rest > before ? std::min(rest - before, cell_bytes_) : 0;
  return div_ceil(whole + last, kBlockBytes);
}

}  // namespace cairn::layout
