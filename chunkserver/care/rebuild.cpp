#include "chunkserver/care/rebuild.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::care {
namespace {

using erasure::PieceMask;

unsigned bits(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }

// How many sets of `count` of `n` there are; `most` + 1 when more than that.
std::size_t choices(unsigned n, unsigned count, std::size_t most) {
  std::size_t total = 1;
  for (unsigned i = 1; i <= count; ++i) {
    total = total * (n - count + i) / i;
    if (total > most) return most + 1;
  }
  return total;
}

// The set of which `chosen` says which of the bits of `have`, from the lowest, are in it.
PieceMask spread(PieceMask have, PieceMask chosen) {
  PieceMask set = 0;
  for (unsigned i = 0; have != 0; ++i, have &= have - 1) {
    if ((chosen >> i & 1U) != 0) set |= have & (~have + 1);
  }
  return set;
}

void add(std::vector<PieceMask>& sets, PieceMask set) {
  if (std::find(sets.begin(), sets.end(), set) == sets.end()) sets.push_back(set);
}

}  // namespace

std::vector<PieceMask> source_sets(PieceMask have, unsigned count, std::size_t most,
                                   PieceMask first, std::uint64_t seed) {
  std::vector<PieceMask> sets;
  const unsigned n = bits(have);
  if (n < count || count == 0) return sets;
  if ((first & ~have) == 0 && bits(first) == count) sets.push_back(first);
  if (choices(n, std::min(count, n - count), most) <= most) {
    // All numbers of `count` bits below 2^n, ascending.
    std::uint64_t chosen = (std::uint64_t{1} << count) - 1;
    while (chosen < std::uint64_t{1} << n) {
      add(sets, spread(have, static_cast<PieceMask>(chosen)));
      const std::uint64_t low = chosen & (~chosen + 1);
      const std::uint64_t ripple = chosen + low;
      chosen = ripple | ((chosen ^ ripple) / low >> 2);
    }
    return sets;
  }
  add(sets, spread(have, (PieceMask{1} << count) - 1));
  std::array<unsigned, 32> order{};
  for (unsigned i = 0; i < n; ++i) order[i] = i;
  Prng prng(seed);
  const unsigned left_out = n - count;
  while (sets.size() < most) {
    // One shuffle, cut into groups to leave out, leaves out each source once.
    prng.shuffle(std::span(order.data(), n));
    for (unsigned at = 0; at < n && sets.size() < most; at += left_out) {
      PieceMask chosen = (PieceMask{1} << n) - 1;
      for (unsigned i = 0; i < left_out; ++i) chosen &= ~(PieceMask{1} << order[(at + i) % n]);
      add(sets, spread(have, chosen));
    }
  }
  return sets;
}

Rebuilder::Rebuilder(const erasure::Encoding& encoding, PieceIndex wanted)
    : encoding_(encoding), wanted_(wanted.raw()) {
  CHECK_LT(wanted_, encoding_.pieces());
  if (!encoding_.is_replicas()) codec_ = erasure::Codec::get(encoding_.data, encoding_.parity);
}

PieceMask Rebuilder::build(std::span<std::byte* const> sources, std::uint32_t crc,
                           std::uint64_t seed, MutableBytes into) {
  CHECK_EQ(sources.size(), std::size_t{encoding_.pieces()});
  CHECK_EQ(into.size(), kBlockBytes);
  PieceMask have = 0;
  std::array<std::byte*, limits::kPiecesPerChunkMax> pieces{};
  for (unsigned i = 0; i < sources.size(); ++i) {
    if (i == wanted_ || sources[i] == nullptr) continue;
    have |= PieceMask{1} << i;
    pieces[i] = sources[i];
  }
  pieces[wanted_] = into.data();
  for (const PieceMask set : source_sets(have, encoding_.data, kSubsetsMax, last_, seed)) {
    ++decodes_;
    if (encoding_.is_replicas()) {
      std::memcpy(into.data(), pieces[static_cast<unsigned>(std::countr_zero(set))], kBlockBytes);
    } else {
      const Status built = codec_->rebuild(set, PieceMask{1} << wanted_,
                                           std::span(pieces.data(), sources.size()), kBlockBytes);
      CHECK(built.has_value());
    }
    if (crc32c(into) != crc) continue;
    last_ = set;
    return set;
  }
  return 0;
}

}  // namespace cairn::chunkserver::care
