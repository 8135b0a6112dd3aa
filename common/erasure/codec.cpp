#include "common/erasure/codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>
#include <string>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/erasure/matrix.h"
#include "common/erasure/multiply.h"

namespace cairn::erasure {
namespace {

// Loss patterns remembered by a codec: those of the failures of one time.
constexpr std::size_t kPatternsKept = 32;

// Sources are not changed, but ISA-L takes them so.
std::uint8_t* raw(const std::byte* at) {
  return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(at));
}

template <class Pointer>
Columns columns_of(std::span<Pointer const> pieces) {
  Columns columns{};
  CHECK_LE(pieces.size(), columns.size());
  std::transform(pieces.begin(), pieces.end(), columns.begin(), [](Pointer p) { return raw(p); });
  return columns;
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
        rows(parity_rows(data_pieces, parity_pieces)),
        encoder(code_path, rows) {}

  // A copy, so that no other thread can replace it under the caller.
  Multiplier decoder(PieceMask used, PieceMask want) const {
    const std::lock_guard lock(mutex);
    ++clock;
    Pattern* oldest = &patterns.front();
    for (Pattern& pattern : patterns) {
      if (pattern.used == used && pattern.want == want) {
        pattern.last_use = clock;
        return pattern.decoder;
      }
      if (pattern.last_use < oldest->last_use) oldest = &pattern;
    }
    oldest->used = used;
    oldest->want = want;
    oldest->last_use = clock;
    oldest->decoder = Multiplier(path, decode_rows(rows, used, want));
    return oldest->decoder;
  }

  struct Pattern {
    PieceMask used = 0;  // 0: free
    PieceMask want = 0;
    std::uint64_t last_use = 0;
    Multiplier decoder;
  };

  const unsigned data;
  const unsigned parity;
  const CodePath path;
  const Matrix rows;
  const Multiplier encoder;

  mutable std::mutex mutex;
  mutable std::uint64_t clock = 0;
  mutable std::array<Pattern, kPatternsKept> patterns{};
};

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
  tables_->encoder.multiply(columns_of(data), columns_of(parity), length);
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

  Columns from{};
  Columns to{};
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
  const Multiplier decoder = tables_->decoder(used, want);
  decoder.multiply(from, to, length);
  return {};
}

void Codec::apply_delta(PieceIndex index, const std::byte* delta,
                        std::span<std::byte* const> parity, std::size_t length) const {
  CHECK_LT(unsigned{index.raw()}, tables_->data);
  CHECK_EQ(parity.size(), std::size_t{tables_->parity});
  tables_->encoder.add(index.raw(), raw(delta), columns_of(parity), length);
}

}  // namespace cairn::erasure
