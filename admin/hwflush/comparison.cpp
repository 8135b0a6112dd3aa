#include "admin/hwflush/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace cairn::admin::hwflush {

Comparison compare_counters(const Counters& on_disk, const Counters& on_server) {
  struct Pair {
    std::uint64_t disk = 0;
    std::uint64_t server = 0;
  };
  std::map<std::uint32_t, Pair> pairs;
  for (const Counter& counter : on_disk) pairs[counter.thread].disk = counter.value;
  for (const Counter& counter : on_server) pairs[counter.thread].server = counter.value;
  Comparison result;
  for (const auto& [thread, pair] : pairs) {
    result.lines += fmt::format("id{}:{} -> {}\n", thread, pair.disk, pair.server);
    ++result.threads;
    if (pair.disk >= pair.server) continue;
    ++result.lost;
    result.most_lost = std::max(result.most_lost, pair.server - pair.disk);
  }
  return result;
}

std::string verdict(const Comparison& comparison, KnownBy by) {
  if (by == KnownBy::kNothing) {
    return "the server was never told of this directory, so there is nothing to compare";
  }
  if (comparison.good()) {
    return fmt::format("all {} counters on the device are as new as those it reported, or newer",
                       comparison.threads);
  }
  const std::string numbers =
      fmt::format("{} of {} counters on the device are older than those it reported, by up to {}",
                  comparison.lost, comparison.threads, comparison.most_lost);
  if (by == KnownBy::kDirectory) return numbers + ": the device lost data that it had flushed";
  return numbers +
         ": the directory is not the one that was under test here. Either it is not "
         "mounted, or it is another device, or the device lost all that it had flushed";
}

}  // namespace cairn::admin::hwflush
