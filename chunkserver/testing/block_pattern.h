// Block contents for tests that tell a 64-bit value: every word depends on the value and on its
// place, and the XOR of two such blocks tells the XOR of their values, as a parity delta needs it.
#pragma once

#include <bit>
#include <optional>

#include "common/base/buffer.h"
#include "common/base/units.h"

namespace cairn::chunkserver::testing {

// Linear over XOR for every `i`; word 0 is the value itself.
constexpr std::uint64_t pattern_word(std::uint64_t value, std::size_t i) {
  if (i == 0) return value;
  return std::rotl(value, static_cast<int>(i % 61)) ^ (value << (1 + i / 61));
}

inline void fill_block(MutableBytes block, std::uint64_t value) {
  for (std::size_t i = 0; i < block.size() / 8; ++i) {
    store_le(block.data() + 8 * i, pattern_word(value, i));
  }
}

inline Buffer block_of(std::uint64_t value) {
  Buffer block = Buffer::allocate(kBlockBytes);
  fill_block(block.span(), value);
  return block;
}

// nullopt for bytes that no value has.
inline std::optional<std::uint64_t> value_of(Bytes block) {
  const auto value = load_le<std::uint64_t>(block.data());
  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < block.size() / 8; ++i) {
    wrong |= load_le<std::uint64_t>(block.data() + 8 * i) ^ pattern_word(value, i);
  }
  if (wrong != 0) return std::nullopt;
  return value;
}

}  // namespace cairn::chunkserver::testing
