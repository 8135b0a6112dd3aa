// Codec: encode, rebuild and parity deltas of one code, by ISA-L. Pure: no I/O, no allocation in
// a call.
//
// Generator (version kGeneratorVersion, in every piece header), over GF(2^8)/0x11d:
//   M = 1   all ones: replicas;
//   N = 1   all ones: XOR;
//   N = 2   rows 1 and 2^i: RAID-6 P + Q (H. P. Anvin, "The mathematics of RAID-6");
//   N > 2   Cauchy (J. Bloemer et al., "An XOR-based erasure-resilient coding scheme", 1995).
// Every pattern of at most N losses is invertible: proved by codec_test.
// Threads: const members from any thread.
// Lengths: any; pointers need no alignment (64 bytes is faster).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/erasure/encoding.h"

namespace cairn::erasure {

inline constexpr std::uint32_t kGeneratorVersion = 1;

// Bit i is piece i.
using PieceMask = std::uint32_t;

// Which instructions do the work. Both give the same bytes; the portable path is for tests.
enum class CodePath : std::uint8_t { kSelected, kPortable };

class Codec {
 public:
  // One shared immutable codec for each code; the tables are made on first use.
  // Requires: an allowed code (Encoding::make).
  static std::shared_ptr<const Codec> get(unsigned data, unsigned parity,
                                          CodePath path = CodePath::kSelected);
  ~Codec();

  unsigned data() const;
  unsigned parity() const;

  // parity[j] = sum over i of coefficient(j, i) * data[i], `length` bytes each.
  void encode(std::span<const std::byte* const> data, std::span<std::byte* const> parity,
              std::size_t length) const;

  // Computes the pieces in `want` from M of the pieces in `have` (the first M set bits are used).
  // `pieces` has M + N pointers; those of used and wanted pieces must be valid. A wanted piece that
  // is itself used is left as it is. Errors: kTooFewPieces.
  Status rebuild(PieceMask have, PieceMask want, std::span<std::byte* const> pieces,
                 std::size_t length) const;

  // parity[j] ^= coefficient(j, index) * delta, delta = old XOR new of data piece `index`.
  void apply_delta(PieceIndex index, const std::byte* delta, std::span<std::byte* const> parity,
                   std::size_t length) const;

  std::uint8_t coefficient(unsigned parity_row, unsigned data_column) const;

 private:
  Codec(unsigned data, unsigned parity, CodePath path);
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

// Known vectors on the code path this CPU selected, and the portable path against it. A daemon that
// gets an error here must not start.
Status self_test();

}  // namespace cairn::erasure
