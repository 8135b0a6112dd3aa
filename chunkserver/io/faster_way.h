// FasterWay: which of two ways of doing the same thing was faster lately. Pure.
//
// Promises: choose() names the way with the smaller running average of what note() was told; every
//           kProbe-th time the other one, so that its average does not grow old.
// Units:    the average moves by 1/16 of the difference at every note (exponential smoothing), by
//           1/2 where it was a probe: there are few of them.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/time.h"

namespace cairn::chunkserver::io {

class FasterWay {
 public:
  enum class Way : std::uint8_t { kFirst, kSecond };
  static constexpr unsigned kProbe = 256;

  Way choose() {
    const bool second_is_faster = average_[1] < average_[0];
    const bool probe = ++turn_ % kProbe == 0;
    return second_is_faster != probe ? Way::kSecond : Way::kFirst;
  }
  // What it took.
  void note(Way way, Duration took) {
    const auto index = static_cast<std::size_t>(way);
    const std::int64_t weight = average_[index] > average_[1 - index] ? 2 : 16;
    average_[index] += (took.count() - average_[index]) / weight;
  }

 private:
  // Both begin at nothing: they rise side by side until they differ.
  std::array<std::int64_t, 2> average_{};
  unsigned turn_ = 0;
};

}  // namespace cairn::chunkserver::io
