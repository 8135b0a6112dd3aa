// Network: what becomes of each message: lost, late, doubled, held back. One way and both ways.
//
// Owns:     the state of every link between two ends (members and clients).
// Requires: ends below kEndsMax.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/ids.h"
#include "common/base/prng.h"
#include "common/base/time.h"

namespace cairn::paxos_sim {

using End = std::uint32_t;
inline constexpr End kEndsMax = 48;
inline constexpr End kFirstClient = 24;  // ends below are members, by their id
inline End end_of(NodeId id) { return id.raw(); }

struct LinkQuality {
  std::uint64_t lost_per_mille = 0;
  std::uint64_t doubled_per_mille = 0;
  Duration delay_min{0};
  Duration delay_max{0};
  // Some messages are much later than all that were sent after them.
  std::uint64_t late_per_mille = 0;
  Duration late_max{0};
};

class Network {
 public:
  struct Copies {
    unsigned count = 0;
    std::array<Duration, 2> delay{};
  };

  Network(Prng& prng, LinkQuality quality) : prng_(prng), quality_(quality) {}

  // When a message sent now arrives; to be asked cut() again at that time.
  Copies route(End from, End to, Duration now);
  bool cut(End from, End to, Duration now) const { return now < link(from, to).cut_until; }

  void cut_link(End from, End to, Duration until);
  // Messages wait, and arrive all at once.
  void clog_link(End from, End to, Duration until);
  // All links are whole, and of this quality.
  void heal(LinkQuality quality);

 private:
  struct Link {
    Duration cut_until{0};
    Duration clogged_until{0};
  };
  const Link& link(End from, End to) const;
  Link& link(End from, End to);
  Duration delay();

  Prng& prng_;
  LinkQuality quality_;
  std::array<Link, std::size_t{kEndsMax} * kEndsMax> links_{};
};

}  // namespace cairn::paxos_sim
