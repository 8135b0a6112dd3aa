// RateWindow: growth per second of a few counters over the last 20 s. Pure; time enters as an
// argument.
#pragma once

#include <array>
#include <cstdint>
#include <deque>

#include "common/base/time.h"

namespace cairn::mds::master {

template <std::size_t N>
class RateWindow {
 public:
  static constexpr Duration kSpan = 20s;
  // At most one sample in this time is kept, so the memory is bounded.
  static constexpr Duration kStep = 500ms;
  static constexpr Duration kSilence = 2s;
  using Counters = std::array<std::uint64_t, N>;

  void add(Instant now, Counters counters) {
    // A counter that fell back began a new life.
    if (!samples_.empty()) {
      for (std::size_t i = 0; i < N; ++i) {
        if (counters[i] < samples_.back().counters[i]) {
          samples_.clear();
          break;
        }
      }
    }
    if (samples_.size() >= 2 && now - samples_[samples_.size() - 2].at < kStep) samples_.pop_back();
    samples_.push_back({now, counters});
    while (samples_.size() > 2 && now - samples_[1].at >= kSpan) samples_.pop_front();
  }
  // 0 when nothing was heard for the whole span.
  double per_second(Instant now, std::size_t which) const {
    if (samples_.size() < 2 || now - samples_.back().at > kSpan) return 0;
    // Who is silent for longer than it reports slows down.
    const Instant end = now - samples_.back().at > kSilence ? now : samples_.back().at;
    const double span = static_cast<double>((end - samples_.front().at).count()) * 1e-9;
    if (span <= 0) return 0;
    const std::uint64_t grown = samples_.back().counters[which] - samples_.front().counters[which];
    return static_cast<double>(grown) / span;
  }

 private:
  struct Sample {
    Instant at;
    Counters counters;
  };
  std::deque<Sample> samples_;
};

}  // namespace cairn::mds::master
