// Start-up self-test. The vectors were computed by a separate program from the definition of
// generator version 1 (carry-less multiplication modulo 0x11d), not by this code: byte x of data
// piece i is the low byte of x^2 + 31ix + 7i + 11x + 1; a vector is the CRC32C of each parity piece
// of 1021 bytes.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "common/erasure/codec.h"

namespace cairn::erasure {
namespace {

constexpr std::size_t kLength = 1021;  // odd and longer than any SIMD step

struct Vector {
  std::uint8_t data;
  std::uint8_t parity;
  std::array<std::uint32_t, limits::kParityPiecesMax> crc;
};

constexpr std::array<Vector, 9> kVectors = {{
    {1, 2, {0xb1590236, 0xb1590236, 0, 0}},
    {2, 1, {0x5d75376b, 0, 0, 0}},
    {3, 2, {0x08698104, 0x3237969a, 0, 0}},
    {5, 2, {0x0152eb0f, 0xde5ce566, 0, 0}},
    {4, 3, {0x19ffa460, 0xf3637293, 0xe43ece11, 0}},
    {17, 1, {0x6dc3fe2d, 0, 0, 0}},
    {17, 2, {0x6dc3fe2d, 0x273a893f, 0, 0}},
    {17, 3, {0xb5e98a89, 0x39397728, 0x41c1134b, 0}},
    {17, 4, {0xb5e98a89, 0x39397728, 0x41c1134b, 0x92d43f0c}},
}};

// Aligned and not: the codec takes other instructions for each.
constexpr std::size_t kShifts[] = {0, 1};

struct alignas(64) Piece {
  std::array<std::byte, kLength + 1> bytes{};
  friend bool operator==(const Piece&, const Piece&) = default;
};
using Pieces = std::vector<Piece>;

Pieces make_pieces(const Codec& codec, std::size_t shift) {
  Pieces pieces(codec.data() + codec.parity());
  for (std::uint32_t i = 0; i < codec.data(); ++i) {
    for (std::uint32_t x = 0; x < kLength; ++x) {
      pieces[i].bytes[x + shift] =
          static_cast<std::byte>((x * x + 31 * i * x + 7 * i + 11 * x + 1) & 0xffU);
    }
  }
  return pieces;
}

std::vector<std::byte*> pointers(Pieces& pieces, std::size_t shift) {
  std::vector<std::byte*> at;
  for (Piece& piece : pieces) at.push_back(piece.bytes.data() + shift);
  return at;
}

// All M + N pieces as `codec` makes them.
Pieces encode(const Codec& codec, std::size_t shift) {
  Pieces pieces = make_pieces(codec, shift);
  const std::vector<std::byte*> at = pointers(pieces, shift);
  const std::vector<const std::byte*> data(at.begin(), at.begin() + codec.data());
  codec.encode(data, std::span(at).subspan(codec.data()), kLength);
  return pieces;
}

Status wrong(const Codec& codec, const char* what) {
  return fail(Code::kInternal, "self-test of code " + std::to_string(codec.data()) + "+" +
                                   std::to_string(codec.parity()) + ": " + what +
                                   "; this processor or library must not be trusted with data");
}

Status check_vector(const Vector& vector, CodePath path, std::size_t shift) {
  const auto codec = Codec::get(vector.data, vector.parity, path);
  const Pieces pieces = encode(*codec, shift);
  for (unsigned row = 0; row < vector.parity; ++row) {
    const Bytes bytes = std::span(pieces[vector.data + row].bytes).subspan(shift, kLength);
    if (crc32c(bytes) != vector.crc[row]) {
      return wrong(*codec, "parity differs from the known vector");
    }
  }
  return {};
}

// The selected path against the portable one: encode, rebuild of the first N pieces, delta.
Status compare_paths(unsigned data, unsigned parity, std::size_t shift) {
  const auto codec = Codec::get(data, parity, CodePath::kSelected);
  const auto portable = Codec::get(data, parity, CodePath::kPortable);
  const Pieces expected = encode(*portable, shift);
  Pieces pieces = encode(*codec, shift);
  if (pieces != expected) return wrong(*codec, "the selected path encodes other bytes");

  const PieceMask all = (PieceMask{1} << (data + parity)) - 1;
  const PieceMask lost = (PieceMask{1} << parity) - 1;
  for (unsigned i = 0; i < parity; ++i) pieces[i] = Piece();
  TRY_VOID(codec->rebuild(all & ~lost, lost, pointers(pieces, shift), kLength));
  if (pieces != expected) return wrong(*codec, "the selected path rebuilds other bytes");

  // old XOR old = 0: a delta of the piece itself turns it to zeros; twice changes nothing.
  const PieceIndex last(static_cast<std::uint8_t>(data - 1));
  const std::vector<std::byte*> at = pointers(pieces, shift);
  const std::span<std::byte* const> rows = std::span(at).subspan(data);
  codec->apply_delta(last, at[data - 1], rows, kLength);
  portable->apply_delta(last, at[data - 1], rows, kLength);
  if (pieces != expected) return wrong(*codec, "the selected path applies another delta");
  return {};
}

}  // namespace

Status self_test() {
  for (const std::size_t shift : kShifts) {
    for (const Vector& vector : kVectors) {
      TRY_VOID(check_vector(vector, CodePath::kSelected, shift));
      TRY_VOID(check_vector(vector, CodePath::kPortable, shift));
    }
    for (unsigned data = 2; data <= limits::kDataPiecesMax; ++data) {
      for (unsigned parity = 1; parity <= limits::kParityPiecesMax && parity < data; ++parity) {
        TRY_VOID(compare_paths(data, parity, shift));
      }
    }
  }
  return {};
}

}  // namespace cairn::erasure
