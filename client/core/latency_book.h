// LatencyBook: how long reads of each chunk server usually take, which wait now, and how many may
// be hedged (asked of others too, when the answer is late). Pure.
//
// Promises: of all reads at most one in kReadsPerHedge is hedged, but for a small reserve, so that
//           a cluster where everything is slow is not given more work.
// Limits:   one entry per address.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>

#include "common/base/time.h"

namespace cairn::client {

class LatencyBook {
 public:
  static constexpr Duration kLeast = std::chrono::milliseconds(10);
  static constexpr Duration kMost = std::chrono::milliseconds(1500);
  static constexpr Duration kUnknown = std::chrono::milliseconds(100);  // of a server just met
  static constexpr std::uint64_t kReadsPerHedge = 10;
  static constexpr std::uint64_t kReserve = 5;  // hedges

  // Around each read: `ended` also when it failed at once.
  void began(const std::string& address, Instant now) { entries_[address].waiting.insert(now); }
  void ended(const std::string& address, Instant since) {
    std::multiset<Instant>& waiting = entries_[address].waiting;
    waiting.erase(waiting.find(since));
  }
  // Some read of it waits for long already: it would not help to ask it too.
  bool stuck(const std::string& address, Instant now) const {
    const auto found = entries_.find(address);
    if (found == entries_.end() || found->second.waiting.empty()) return false;
    return now - *found->second.waiting.begin() >= kMost / 2;
  }

  // A read of `address` took so long, or was given up after it.
  void add(const std::string& address, Duration took) {
    Entry& entry = entries_[address];
    const Duration sample = std::clamp(took, Duration(), 2 * kMost);
    if (entry.samples++ == 0) {
      entry.mean = sample;
      entry.deviation = sample / 2;
      return;
    }
    const Duration error = sample - entry.mean;
    entry.mean += error / 8;
    entry.deviation += (std::max(error, -error) - entry.deviation) / 4;
  }

  // A read that waits longer is late.
  Duration patience(const std::string& address) const {
    const auto found = entries_.find(address);
    if (found == entries_.end() || found->second.samples == 0) return kUnknown;
    const Entry& entry = found->second;
    const Duration usual = entry.mean + 4 * entry.deviation;
    const Duration least = entry.samples < kSamplesKnown ? kUnknown : kLeast;
    return std::clamp(usual, least, kMost);
  }

  // One more read; every one counts, hedged or not.
  void count_read() { credit_ = std::min(credit_ + 1, kReserve * kReadsPerHedge); }
  // True: a read may be hedged, and is counted as such.
  bool take_hedge() {
    if (credit_ < kReadsPerHedge) return false;
    credit_ -= kReadsPerHedge;
    return true;
  }

 private:
  static constexpr std::uint64_t kSamplesKnown = 8;
  struct Entry {
    Duration mean{};
    Duration deviation{};
    std::uint64_t samples = 0;
    std::multiset<Instant> waiting;  // since when
  };
  std::unordered_map<std::string, Entry> entries_;
  std::uint64_t credit_ = kReserve * kReadsPerHedge;
};

}  // namespace cairn::client
