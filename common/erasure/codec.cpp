#include "common/erasure/codec.h"

#include <isa-l/erasure_code.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/erasure/matrix.h"

namespace cairn::erasure {
namespace {

// ISA-L expands each coefficient to 32 bytes.
constexpr std::size_t kTableBytes = 32;
// ISA-L takes an int length.
constexpr std::size_t kStepBytes = 1U << 30;
// Loss patterns remembered by a codec: those of the failures of one time.
constexpr std::size_t kPatternsKept = 32;

using Bytes32 = std::array<std::uint8_t, kTableBytes>;
template <std::size_t kRows>
using ExpandedRows = std::array<Bytes32, kRows * limits::kDataPiecesMax>;
using DecodeTables = ExpandedRows<limits::kParityPiecesMax>;
using Pointers = std::array<std::uint8_t*, limits::kPiecesPerChunkMax>;

// ISA-L declares sources and tables as changeable and does not change them.
std::uint8_t* raw(const std::byte* at) {
  return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(at));
}
std::uint8_t* raw(const std::uint8_t* at) { return const_cast<std::uint8_t*>(at); }

void multiply(CodePath path, int length, unsigned columns, unsigned rows,
              const std::uint8_t* tables, Pointers& from, Pointers& to) {
  const auto k = static_cast<int>(columns);
  const auto r = static_cast<int>(rows);
  if (path == CodePath::kPortable) {
    ec_encode_data_base(length, k, r, raw(tables), from.data(), to.data());
  } else {
    ec_encode_data(length, k, r, raw(tables), from.data(), to.data());
  }
}

// to[row] = sum over column of tables(row, column) * from[column], in steps ISA-L can take.
void multiply_all(CodePath path, std::size_t length, unsigned columns, unsigned rows,
                  const std::uint8_t* tables, Pointers& from, Pointers& to) {
  while (length > 0 && rows > 0) {
    const std::size_t step = std::min(length, kStepBytes);
    multiply(path, static_cast<int>(step), columns, rows, tables, from, to);
    for (unsigned i = 0; i < columns; ++i) from[i] += step;
    for (unsigned i = 0; i < rows; ++i) to[i] += step;
    length -= step;
  }
}

PieceMask lowest_bits(PieceMask mask, unsigned count) {
  PieceMask lowest = 0;
  for (; count > 0 && mask != 0; --count) {
    lowest |= mask & (~mask + 1);
    mask &= mask - 1;
  }
  return lowest;
}

}  // namespace

struct Codec::Tables {
  Tables(unsigned data_pieces, unsigned parity_pieces, CodePath code_path)
      : data(data_pieces),
        parity(parity_pieces),
        path(code_path),
        rows(parity_rows(data_pieces, parity_pieces)) {
    if (parity > 0) expand(rows, encode.front().data());
  }

  static void expand(const Matrix& matrix, std::uint8_t* tables) {
    ec_init_tables(static_cast<int>(matrix.columns), static_cast<int>(matrix.rows),
                   raw(matrix.at.data()), tables);
  }

  // A copy, so that no other thread can replace it under the caller.
  DecodeTables decode_tables(PieceMask used, PieceMask want) const {
    const std::lock_guard lock(mutex);
    ++clock;
    Pattern* oldest = &patterns.front();
    for (Pattern& pattern : patterns) {
      if (pattern.used == used && pattern.want == want) {
        pattern.last_use = clock;
        return pattern.tables;
      }
      if (pattern.last_use < oldest->last_use) oldest = &pattern;
    }
    oldest->used = used;
    oldest->want = want;
    oldest->last_use = clock;
    expand(decode_rows(rows, used, want), oldest->tables.front().data());
    return oldest->tables;
  }

  struct Pattern {
    PieceMask used = 0;  // 0: free
    PieceMask want = 0;
    std::uint64_t last_use = 0;
    DecodeTables tables;
  };

  const unsigned data;
  const unsigned parity;
  const CodePath path;
  const Matrix rows;
  // M = 1 has up to 14 rows of one column: fewer entries than 4 x 17.
  ExpandedRows<limits::kParityPiecesMax> encode{};

  mutable std::mutex mutex;
  mutable std::uint64_t clock = 0;
  mutable std::array<Pattern, kPatternsKept> patterns{};
};

static_assert(kRowsMax <= limits::kParityPiecesMax * limits::kDataPiecesMax);

Codec::Codec(unsigned data, unsigned parity, CodePath path)
    : tables_(std::make_unique<Tables>(data, parity, path)) {}
Codec::~Codec() = default;

std::shared_ptr<const Codec> Codec::get(unsigned data, unsigned parity, CodePath path) {
  CHECK(data >= 1 && data <= limits::kDataPiecesMax);
  CHECK(data == 1 ? parity <= kRowsMax : parity >= 1 && parity <= limits::kParityPiecesMax);
  CHECK(data == 1 || parity < data);
  using Row = std::array<std::shared_ptr<const Codec>, kRowsMax + 1>;
  static std::mutex mutex;
  static std::array<std::array<Row, limits::kDataPiecesMax + 1>, 2> made;
  const std::lock_guard lock(mutex);
  std::shared_ptr<const Codec>& codec = made[static_cast<std::size_t>(path)][data][parity];
  if (!codec) codec.reset(new Codec(data, parity, path));
  return codec;
}

unsigned Codec::data() const { return tables_->data; }
unsigned Codec::parity() const { return tables_->parity; }

std::uint8_t Codec::coefficient(unsigned parity_row, unsigned data_column) const {
  CHECK_LT(parity_row, tables_->parity);
  CHECK_LT(data_column, tables_->data);
  return tables_->rows.get(parity_row, data_column);
}

void Codec::encode(std::span<const std::byte* const> data, std::span<std::byte* const> parity,
                   std::size_t length) const {
  CHECK_EQ(data.size(), std::size_t{tables_->data});
  CHECK_EQ(parity.size(), std::size_t{tables_->parity});
  if (length == 0) return;
  if (tables_->data == 1) {
    for (std::byte* copy : parity) std::memcpy(copy, data[0], length);
    return;
  }
  Pointers from{};
  Pointers to{};
  std::transform(data.begin(), data.end(), from.begin(), [](const std::byte* p) { return raw(p); });
  std::transform(parity.begin(), parity.end(), to.begin(), [](std::byte* p) { return raw(p); });
  multiply_all(tables_->path, length, tables_->data, tables_->parity,
               tables_->encode.front().data(), from, to);
}

Status Codec::rebuild(PieceMask have, PieceMask want, std::span<std::byte* const> pieces,
                      std::size_t length) const {
  const unsigned count = tables_->data + tables_->parity;
  CHECK_EQ(pieces.size(), std::size_t{count});
  CHECK_EQ(have >> count, 0U);
  CHECK_EQ(want >> count, 0U);
  const auto present = static_cast<unsigned>(std::popcount(have));
  if (present < tables_->data) {
    return fail(Code::kTooFewPieces, "have " + std::to_string(present) + " of the " +
                                         std::to_string(tables_->data) +
                                         " pieces that a rebuild needs");
  }
  const PieceMask used = lowest_bits(have, tables_->data);
  want &= ~used;
  if (want == 0 || length == 0) return {};

  Pointers from{};
  Pointers to{};
  unsigned sources = 0;
  unsigned targets = 0;
  for (unsigned i = 0; i < count; ++i) {
    if ((used >> i & 1U) != 0) from[sources++] = raw(pieces[i]);
    if ((want >> i & 1U) != 0) to[targets++] = raw(pieces[i]);
  }
  if (tables_->data == 1) {
    for (unsigned i = 0; i < targets; ++i) std::memcpy(to[i], from[0], length);
    return {};
  }
  const DecodeTables tables = tables_->decode_tables(used, want);
  multiply_all(tables_->path, length, sources, targets, tables.front().data(), from, to);
  return {};
}

void Codec::apply_delta(PieceIndex index, const std::byte* delta,
                        std::span<std::byte* const> parity, std::size_t length) const {
  CHECK_LT(unsigned{index.raw()}, tables_->data);
  CHECK_EQ(parity.size(), std::size_t{tables_->parity});
  if (parity.empty()) return;
  Pointers to{};
  std::transform(parity.begin(), parity.end(), to.begin(), [](std::byte* p) { return raw(p); });
  std::uint8_t* from = raw(delta);
  const auto k = static_cast<int>(tables_->data);
  const auto rows = static_cast<int>(tables_->parity);
  const auto column = static_cast<int>(index.raw());
  std::uint8_t* tables = raw(tables_->encode.front().data());
  while (length > 0) {
    const std::size_t step = std::min(length, kStepBytes);
    if (tables_->path == CodePath::kPortable) {
      ec_encode_data_update_base(static_cast<int>(step), k, rows, column, tables, from, to.data());
    } else {
      ec_encode_data_update(static_cast<int>(step), k, rows, column, tables, from, to.data());
    }
    from += step;
    for (std::uint8_t*& at : std::span(to.data(), parity.size())) at += step;
    length -= step;
  }
}

}  // namespace cairn::erasure
