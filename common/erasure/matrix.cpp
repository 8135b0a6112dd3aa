#include "common/erasure/matrix.h"

#include <isa-l/erasure_code.h>

#include <bit>

#include "common/base/check.h"

namespace cairn::erasure {
namespace {

// Row `piece` of the whole generator: identity above, parity rows below.
std::uint8_t generator(const Matrix& parity, unsigned piece, unsigned column) {
  if (piece < parity.columns) return piece == column ? 1 : 0;
  return parity.get(piece - parity.columns, column);
}

}  // namespace

Matrix parity_rows(unsigned data, unsigned parity) {
  CHECK(data >= 1 && data <= limits::kDataPiecesMax);
  CHECK(parity <= (data == 1 ? kRowsMax : limits::kParityPiecesMax));
  Matrix matrix{.rows = parity, .columns = data, .at = {}};
  for (unsigned row = 0; row < parity; ++row) {
    std::uint8_t power = 1;
    for (unsigned column = 0; column < data; ++column) {
      if (data == 1 || parity == 1 || (parity == 2 && row == 0)) {
        matrix.set(row, column, 1);
      } else if (parity == 2) {
        matrix.set(row, column, power);
        power = gf_mul(power, 2);
      } else {
        // Cauchy: 1 / (x + y) with all x (rows) and y (columns) different.
        matrix.set(row, column, gf_inv(static_cast<std::uint8_t>((data + row) ^ column)));
      }
    }
  }
  return matrix;
}

Matrix decode_rows(const Matrix& parity, std::uint32_t used, std::uint32_t want) {
  const unsigned size = parity.columns;
  CHECK_EQ(static_cast<unsigned>(std::popcount(used)), size);
  Matrix survivors{.rows = size, .columns = size, .at = {}};
  unsigned row = 0;
  for (std::uint32_t rest = used; rest != 0; rest &= rest - 1, ++row) {
    const auto piece = static_cast<unsigned>(std::countr_zero(rest));
    for (unsigned column = 0; column < size; ++column) {
      survivors.set(row, column, generator(parity, piece, column));
    }
  }
  Matrix inverse{.rows = size, .columns = size, .at = {}};
  CHECK_EQ(gf_invert_matrix(survivors.at.data(), inverse.at.data(), static_cast<int>(size)), 0);

  Matrix decode{.rows = 0, .columns = size, .at = {}};
  for (std::uint32_t rest = want; rest != 0; rest &= rest - 1) {
    const auto piece = static_cast<unsigned>(std::countr_zero(rest));
    for (unsigned column = 0; column < size; ++column) {
      std::uint8_t sum = 0;
      for (unsigned i = 0; i < size; ++i) {
        sum ^= gf_mul(generator(parity, piece, i), inverse.get(i, column));
      }
      decode.set(decode.rows, column, sum);
    }
    ++decode.rows;
  }
  return decode;
}

}  // namespace cairn::erasure
