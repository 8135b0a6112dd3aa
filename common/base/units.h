// Byte literals and the small arithmetic of aligned ranges. Offsets and lengths are bytes unless a
// name or a type says otherwise. `FileOffset`, `ChunkOffset`, `PieceOffset`, `DiskOffset` are four
// address spaces that do not mix; only common/layout and the piece store convert between them.
#pragma once

#include <cstdint>

#include "common/base/check.h"
#include "common/base/strong.h"

namespace cairn {

consteval std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
consteval std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
consteval std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
consteval std::uint64_t operator""_TiB(unsigned long long n) { return n << 40; }

using ByteCount = std::uint64_t;
using FileOffset = StrongNum<struct FileOffsetTag>;
using ChunkOffset = StrongNum<struct ChunkOffsetTag>;
using PieceOffset = StrongNum<struct PieceOffsetTag>;
using DiskOffset = StrongNum<struct DiskOffsetTag>;

template <class Tag>
constexpr StrongNum<Tag> advance(StrongNum<Tag> offset, ByteCount by) {
  return StrongNum<Tag>(offset.raw() + by);
}

// One block: the unit of checksums, of space and of every piece range on the wire.
inline constexpr ByteCount kBlockBytes = 4096;

constexpr std::uint64_t align_down(std::uint64_t n, std::uint64_t unit) { return n - n % unit; }
constexpr std::uint64_t align_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) / unit * unit;
}
constexpr std::uint64_t div_ceil(std::uint64_t n, std::uint64_t unit) {
  return n / unit + (n % unit != 0 ? 1 : 0);
}
inline std::uint64_t div_exact(std::uint64_t n, std::uint64_t unit) {
  CHECK_EQ(n % unit, std::uint64_t{0});
  return n / unit;
}

}  // namespace cairn
