// FileLayout: pure arithmetic between the bytes of a file and the blocks of pieces.
//
// A file is chunks of M * piece_bytes; a chunk is stripes of M cells; piece i holds cell i of every
// stripe (docs/protocols/data-path.md). Replicas are M = 1.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/result.h"
#include "common/base/units.h"
#include "common/erasure/encoding.h"

namespace cairn::layout {

// A run of 4 KiB blocks of a piece.
struct BlockRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  friend bool operator==(const BlockRun&, const BlockRun&) = default;
};

// Part of a chunk that lies in one cell: contiguous in the file and in the piece.
struct CellRange {
  std::uint8_t piece = 0;  // data piece
  std::uint64_t stripe = 0;
  ChunkOffset chunk_offset;  // where it starts in the chunk
  PieceOffset piece_offset;  // where it starts in the piece
  ByteCount length = 0;
  friend bool operator==(const CellRange&, const CellRange&) = default;
};

class FileLayout {
 public:
  // Errors: kInvalidArgument (a cell is not a multiple of a block, a piece not of a cell, zero, or
  // > 4 GiB).
  static Result<FileLayout> make(erasure::Encoding encoding, ByteCount cell_bytes,
                                 ByteCount piece_bytes);

  const erasure::Encoding& encoding() const { return encoding_; }
  ByteCount cell_bytes() const { return cell_bytes_; }
  ByteCount piece_bytes() const { return piece_bytes_; }
  ByteCount stripe_bytes() const { return cell_bytes_ * encoding_.data; }
  ByteCount chunk_bytes() const { return piece_bytes_ * encoding_.data; }

  std::uint64_t chunk_index(FileOffset offset) const { return offset.raw() / chunk_bytes(); }
  ChunkOffset in_chunk(FileOffset offset) const {
    return ChunkOffset(offset.raw() % chunk_bytes());
  }
  FileOffset chunk_start(std::uint64_t index) const { return FileOffset(index * chunk_bytes()); }

  // The cells that [offset, offset + length) of a chunk touches, in chunk order.
  // Requires: the range lies inside the chunk.
  std::vector<CellRange> map(ChunkOffset offset, ByteCount length) const;
  // The inverse of one byte of map().
  ChunkOffset unmap(std::uint8_t piece, PieceOffset offset) const;
  // The blocks of piece i that hold data when the chunk has `length` bytes (parity: i >= M).
  std::uint64_t blocks_of_piece(unsigned piece, ByteCount chunk_length) const;

 private:
  FileLayout() = default;
  erasure::Encoding encoding_;
  ByteCount cell_bytes_ = 0;
  ByteCount piece_bytes_ = 0;
};

}  // namespace cairn::layout
