// Matrices of the codes: generator and decoding coefficients over GF(2^8)/0x11d. Pure arithmetic,
// used by Codec and its tests only.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/limits.h"

namespace cairn::erasure {

inline constexpr unsigned kRowsMax = limits::kReplicasMax - 1;  // copies of one data piece

// rows x columns coefficients, row after row.
struct Matrix {
  unsigned rows = 0;
  unsigned columns = 0;
  std::array<std::uint8_t, limits::kDataPiecesMax * limits::kDataPiecesMax> at{};

  std::uint8_t get(unsigned row, unsigned column) const { return at[row * columns + column]; }
  void set(unsigned row, unsigned column, std::uint8_t value) {
    at[row * columns + column] = value;
  }
};

// The parity rows of generator version 1 (codec.h).
Matrix parity_rows(unsigned data, unsigned parity);

// Row w of the answer, multiplied by the pieces in `used` (in ascending order), gives the w-th
// piece of `want`.
// Requires: `used` has exactly `data` bits, and every pattern is invertible (codec_test proves it).
Matrix decode_rows(const Matrix& parity, std::uint32_t used, std::uint32_t want);

}  // namespace cairn::erasure
