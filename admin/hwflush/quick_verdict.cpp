#include "admin/hwflush/quick_verdict.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"

namespace cairn::admin {
namespace {

// A disk passes under its head 90 to 250 times a second, and a flushed write must wait for its
// sector; twice that allows for luck. What does more answered from a cache.
constexpr double kRotatingFlushesMax = 500;
// The way to a device and back takes longer than this, even to one that answers from a protected
// cache.
constexpr Duration kFastestFlush = 8us;
// A volatile cache must be written to flash at a flush, and programming a page takes 100 us and
// more; half of that allows for fast media.
constexpr Duration kFastestFlashFlush = 50us;

struct Finding {
  bool suspicious = false;
  std::string text;
};

double microseconds(Duration duration) { return static_cast<double>(duration.count()) / 1000.0; }

Duration percentile(const std::vector<Duration>& sorted, std::size_t permille) {
  return sorted[(sorted.size() - 1) * permille / 1000];
}

Finding find_rotating(double per_second, const Medium& medium) {
  if (per_second <= kRotatingFlushesMax) {
    return {false, "That is a speed a rotating disk can have."};
  }
  const bool no_flushes = medium.write_cache == "write through";
  return {true, fmt::format("A rotating disk cannot flush more than about {:.0f} times a second: "
                            "something answers before the data is on the platter. That is right "
                            "only behind a controller whose cache survives a power cut.{}",
                            kRotatingFlushesMax / 2,
                            no_flushes ? " The kernel takes the cache for write through and sends "
                                         "no flushes at all."
                                       : "")};
}

Finding find_solid(Duration median, const Medium& medium) {
  if (medium.write_cache == "write back" && median < kFastestFlashFlush) {
    return {true,
            "The drive says that it has a volatile cache, and flushes it faster than flash "
            "can be written. That is right only for a drive with power-loss protection."};
  }
  if (median < kFastestFlush) {
    return {true, "No drive answers a write and a flush that fast: something else answers."};
  }
  return {false, "That is a speed such a drive can have."};
}

Finding find(const Medium& medium, double per_second, Duration median) {
  switch (medium.kind) {
    case MediumKind::kNone:
      return {true, fmt::format("It lies on no block device of this machine{}: what a flush means "
                                "there cannot be seen from here.",
                                medium.filesystem.empty() ? "" : " (" + medium.filesystem + ")")};
    case MediumKind::kRotating:
      return find_rotating(per_second, medium);
    case MediumKind::kSolidState:
      return find_solid(median, medium);
    case MediumKind::kVirtual:
      if (median < kFastestFlush) {
        return {true, "A virtual drive that answers that fast does not ask its host's disk."};
      }
      return {false,
              "It is a virtual drive: whether its host passes flushes on decides, and "
              "cannot be seen from here."};
  }
  return {};
}

std::string medium_text(const Medium& medium) {
  std::string kind = "no drive";
  if (medium.kind == MediumKind::kRotating) kind = "rotating";
  if (medium.kind == MediumKind::kSolidState) kind = "SSD";
  if (medium.kind == MediumKind::kVirtual) kind = "virtual";
  if (medium.drive.empty()) return kind;
  return medium.drive + " (" + kind +
         ", write cache: " + (medium.write_cache.empty() ? "not told" : medium.write_cache) + ")";
}

}  // namespace

FlushVerdict judge_flushes(const Medium& medium, FlushSamples samples) {
  CHECK(!samples.latencies.empty());
  std::ranges::sort(samples.latencies);
  const double seconds = std::max(static_cast<double>(samples.elapsed.count()) / 1e9, 1e-9);
  const Duration median = percentile(samples.latencies, 500);
  FlushVerdict verdict;
  verdict.flushes_per_second = static_cast<double>(samples.latencies.size()) / seconds;
  const Finding finding = find(medium, verdict.flushes_per_second, median);
  verdict.suspicious = finding.suspicious;
  verdict.text = fmt::format(
      "{}: {:.0f} flushes a second, latency {:.0f} us (best {:.0f}, 99% below {:.0f}). {} "
      "This cannot show what a power cut does; cairn hwflush-check can.",
      medium_text(medium), verdict.flushes_per_second, microseconds(median),
      microseconds(samples.latencies.front()), microseconds(percentile(samples.latencies, 990)),
      finding.text);
  return verdict;
}

}  // namespace cairn::admin
