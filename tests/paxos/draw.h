// Draws of durations, and hashing that is the same on every machine.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/prng.h"
#include "common/base/time.h"

namespace cairn::paxos_sim {

// Uniform in [low, high].
inline Duration draw(Prng& prng, Duration low, Duration high) {
  return Duration(static_cast<std::int64_t>(prng.between(
      static_cast<std::uint64_t>(low.count()), static_cast<std::uint64_t>(high.count()))));
}
inline Duration per_mille(Duration whole, std::uint64_t parts) {
  return Duration(whole.count() / 1000 * static_cast<std::int64_t>(parts));
}

inline constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = (a ^ (b + 0x9e3779b97f4a7c15ULL + (a << 6))) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 29)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 32);
}
inline std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ bytes.size();
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix(hash, bytes.size());
}

}  // namespace cairn::paxos_sim
