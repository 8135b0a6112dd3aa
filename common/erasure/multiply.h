// Multiplier: a matrix over GF(2^8) times columns of bytes, by the fastest instructions that fit.
//
// ec_encode_data does any matrix at any address. A single row of ones (XOR) and the rows 1, 2^i
// (P + Q) are done by xor_gen and pq_gen where all pointers are aligned to 64 bytes: they measure
// two to three times as fast (tests/bench/codec_bench). All ways give the same bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/base/limits.h"
#include "common/erasure/codec.h"
#include "common/erasure/matrix.h"

namespace cairn::erasure {

using Columns = std::array<std::uint8_t*, limits::kPiecesPerChunkMax>;

class Multiplier {
 public:
  Multiplier() = default;
  Multiplier(CodePath path, const Matrix& matrix);

  // to[row] = sum over column of matrix(row, column) * from[column], `length` bytes each.
  void multiply(Columns from, Columns to, std::size_t length) const;
  // to[row] ^= matrix(row, column) * from.
  void add(unsigned column, const std::uint8_t* from, Columns to, std::size_t length) const;

 private:
  enum class Kind : std::uint8_t { kMatrix, kXor, kPq };
  // ISA-L expands each coefficient to 32 bytes. M = 1 has 14 rows at most: that fits, too.
  static constexpr std::size_t kTableBytes =
      std::size_t{32} * limits::kParityPiecesMax * limits::kDataPiecesMax;
  static_assert(kRowsMax <= limits::kParityPiecesMax * limits::kDataPiecesMax);

  static Kind kind_of(const Matrix& matrix);
  // How many bytes at the start xor_gen or pq_gen did; 0 where they do not fit.
  std::size_t multiply_special(const Columns& from, const Columns& to, std::size_t length) const;

  CodePath path_ = CodePath::kSelected;
  Kind kind_ = Kind::kMatrix;
  std::uint8_t rows_ = 0;
  std::uint8_t columns_ = 0;
  std::array<std::uint8_t, kTableBytes> tables_{};
};

}  // namespace cairn::erasure
