#include "common/erasure/multiply.h"

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include <algorithm>
#include <span>

#include "common/base/check.h"

namespace cairn::erasure {
namespace {

// ISA-L takes an int length.
constexpr std::size_t kStepBytes = 1U << 30;
// What xor_gen and pq_gen need on every processor, of addresses and of lengths.
constexpr std::size_t kSpecialAlignment = 64;

// ISA-L declares tables and sources as changeable and does not change them.
std::uint8_t* raw(const std::uint8_t* at) { return const_cast<std::uint8_t*>(at); }

void advance(std::span<std::uint8_t*> columns, std::size_t by) {
  for (std::uint8_t*& at : columns) at += by;
}

}  // namespace

Multiplier::Kind Multiplier::kind_of(const Matrix& matrix) {
  if (matrix.columns < 2 || matrix.rows < 1 || matrix.rows > 2) return Kind::kMatrix;
  std::uint8_t power = 1;
  for (unsigned column = 0; column < matrix.columns; ++column) {
    if (matrix.get(0, column) != 1) return Kind::kMatrix;
    if (matrix.rows == 2 && matrix.get(1, column) != power) return Kind::kMatrix;
    power = gf_mul(power, 2);
  }
  return matrix.rows == 1 ? Kind::kXor : Kind::kPq;
}

Multiplier::Multiplier(CodePath path, const Matrix& matrix)
    : path_(path),
      kind_(path == CodePath::kSelected ? kind_of(matrix) : Kind::kMatrix),
      rows_(static_cast<std::uint8_t>(matrix.rows)),
      columns_(static_cast<std::uint8_t>(matrix.columns)) {
  CHECK_LE(std::size_t{32} * matrix.rows * matrix.columns, kTableBytes);
  if (rows_ == 0) return;
  ec_init_tables(columns_, rows_, raw(matrix.at.data()), tables_.data());
}

std::size_t Multiplier::multiply_special(const Columns& from, const Columns& to,
                                         std::size_t length) const {
  if (kind_ == Kind::kMatrix) return 0;
  std::array<void*, limits::kPiecesPerChunkMax> all{};
  const unsigned count = unsigned{columns_} + rows_;
  std::copy_n(from.begin(), columns_, all.begin());
  std::copy_n(to.begin(), rows_, all.begin() + columns_);
  for (const void* at : std::span(all).first(count)) {
    if (reinterpret_cast<std::uintptr_t>(at) % kSpecialAlignment != 0) return 0;
  }
  const std::size_t whole = std::min(length, kStepBytes) / kSpecialAlignment * kSpecialAlignment;
  if (whole == 0) return 0;
  const auto vectors = static_cast<int>(count);
  const auto bytes = static_cast<int>(whole);
  const int failed = kind_ == Kind::kXor ? xor_gen(vectors, bytes, all.data())
                                         : pq_gen(vectors, bytes, all.data());
  // A refusal writes nothing; the matrix way is always right.
  return failed == 0 ? whole : 0;
}

void Multiplier::multiply(Columns from, Columns to, std::size_t length) const {
  if (rows_ == 0) return;
  while (length > 0) {
    std::size_t step = multiply_special(from, to, length);
    if (step == 0) {
      step = std::min(length, kStepBytes);
      const auto bytes = static_cast<int>(step);
      if (path_ == CodePath::kPortable) {
        ec_encode_data_base(bytes, columns_, rows_, raw(tables_.data()), from.data(), to.data());
      } else {
        ec_encode_data(bytes, columns_, rows_, raw(tables_.data()), from.data(), to.data());
      }
    }
    advance(std::span(from).first(columns_), step);
    advance(std::span(to).first(rows_), step);
    length -= step;
  }
}

void Multiplier::add(unsigned column, const std::uint8_t* from, Columns to,
                     std::size_t length) const {
  CHECK_LT(column, unsigned{columns_});
  if (rows_ == 0) return;
  const auto index = static_cast<int>(column);
  while (length > 0) {
    const std::size_t step = std::min(length, kStepBytes);
    const auto bytes = static_cast<int>(step);
    if (path_ == CodePath::kPortable) {
      ec_encode_data_update_base(bytes, columns_, rows_, index, raw(tables_.data()), raw(from),
                                 to.data());
    } else {
      ec_encode_data_update(bytes, columns_, rows_, index, raw(tables_.data()), raw(from),
                            to.data());
    }
    from += step;
    advance(std::span(to).first(rows_), step);
    length -= step;
  }
}

}  // namespace cairn::erasure
