#include "tests/paxos/network.h"

#include <algorithm>

#include "tests/paxos/draw.h"

namespace cairn::paxos_sim {

Network::Link& Network::link(End from, End to) {
  CHECK_LT(from, kEndsMax);
  CHECK_LT(to, kEndsMax);
  return links_[std::size_t{from} * kEndsMax + to];
}

const Network::Link& Network::link(End from, End to) const {
  return const_cast<Network*>(this)->link(from, to);
}

Duration Network::delay() {
  if (prng_.chance(quality_.late_per_mille)) {
    return draw(prng_, quality_.delay_max, quality_.late_max);
  }
  return draw(prng_, quality_.delay_min, quality_.delay_max);
}

Network::Copies Network::route(End from, End to, Duration now) {
  Copies copies;
  if (cut(from, to, now) || prng_.chance(quality_.lost_per_mille)) return copies;
  copies.count = prng_.chance(quality_.doubled_per_mille) ? 2 : 1;
  const Duration held = std::max(link(from, to).clogged_until - now, Duration(0));
  for (unsigned i = 0; i < copies.count; ++i) copies.delay[i] = held + delay();
  return copies;
}

void Network::cut_link(End from, End to, Duration until) {
  link(from, to).cut_until = std::max(link(from, to).cut_until, until);
}

void Network::clog_link(End from, End to, Duration until) {
  link(from, to).clogged_until = std::max(link(from, to).clogged_until, until);
}

void Network::heal(LinkQuality quality) {
  quality_ = quality;
  links_.fill(Link());
}

}  // namespace cairn::paxos_sim
