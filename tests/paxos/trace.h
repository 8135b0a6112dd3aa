// Trace: a hash of everything that happened (two runs of a seed must agree), and on demand a line
// for each.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "tests/paxos/draw.h"

namespace cairn::paxos_sim {

class Trace {
 public:
  explicit Trace(bool verbose) : verbose_(verbose) {}

  void note(Duration at, std::uint64_t what, std::uint64_t more) {
    hash_ = mix(mix(hash_, static_cast<std::uint64_t>(at.count())), mix(what, more));
  }
  std::uint64_t hash() const { return hash_; }

  bool verbose() const { return verbose_; }
  void line(Duration at, const std::string& text) const {
    std::printf("%12.6f  %s\n", static_cast<double>(at.count()) / 1e9, text.c_str());
  }

 private:
  bool verbose_;
  std::uint64_t hash_ = 0;
};

}  // namespace cairn::paxos_sim
