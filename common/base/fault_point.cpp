#include "common/base/fault_point.h"

#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>

#include "common/base/prng.h"

namespace cairn {
namespace {

struct Armed {
  std::string name;
  std::uint64_t count = 0;      // 0: by chance
  std::uint64_t per_mille = 0;  // chance at every passage
  std::atomic<std::uint64_t> passed = 0;
};

// Written by arm_fault_points(), before there are other threads; then only the counters change.
std::deque<Armed>& armed() {
  static std::deque<Armed> points;
  return points;
}

std::unexpected<Error> malformed(std::string_view entry, const char* why) {
  return fail(Code::kInvalidArgument,
              "CAIRN_FAULT: \"" + std::string(entry) + "\": " + std::string(why));
}

bool is_name(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.") == std::string_view::npos;
}

Result<std::uint64_t> parse_number(std::string_view entry, std::string_view text,
                                   std::uint64_t max) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return malformed(entry, "expected name:count or name:random:per-mille");
  }
  if (value == 0 || value > max) return malformed(entry, "the number is out of range");
  return value;
}

struct Point {
  std::string_view name;
  std::uint64_t count = 0;
  std::uint64_t per_mille = 0;
};

Result<Point> parse_point(std::string_view entry) {
  Point point;
  const std::size_t colon = entry.find(':');
  point.name = entry.substr(0, colon);
  if (colon == std::string_view::npos || !is_name(point.name)) {
    return malformed(entry, "expected name:count or name:random:per-mille");
  }
  constexpr std::string_view kRandom = "random:";
  std::string_view rest = entry.substr(colon + 1);
  if (rest.starts_with(kRandom)) {
    rest.remove_prefix(kRandom.size());
    TRY(point.per_mille, parse_number(entry, rest, 1000));
  } else {
    TRY(point.count, parse_number(entry, rest, UINT64_MAX));
  }
  return point;
}

// As kill -9 from outside: no handler runs, nothing is flushed.
[[noreturn]] void die(const Armed& point, std::uint64_t passage) {
  std::fprintf(stderr, "fault point %s, passage %llu: killed\n", point.name.c_str(),
               static_cast<unsigned long long>(passage));
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

}  // namespace

Status arm_fault_points() {
  const char* text = std::getenv("CAIRN_FAULT");
  return arm_fault_points(text == nullptr ? std::string_view() : std::string_view(text));
}

Status arm_fault_points(std::string_view text) {
  std::deque<Armed> points;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    TRY(const Point point, parse_point(text.substr(0, comma)));
    Armed& added = points.emplace_back();
    added.name = point.name;
    added.count = point.count;
    added.per_mille = point.per_mille;
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) return malformed(",", "nothing behind the comma");
  }
  armed().swap(points);
  base::fault_points_armed.store(!armed().empty(), std::memory_order_relaxed);
  return {};
}

void base::pass_fault_point(std::string_view name) {
  for (Armed& point : armed()) {
    if (point.name != name) continue;
    const std::uint64_t passage = point.passed.fetch_add(1, std::memory_order_relaxed) + 1;
    if (point.count != 0) {
      if (passage == point.count) die(point, passage);
      continue;
    }
    // A generator of its own for every passage: threads may pass together.
    Prng prng((static_cast<std::uint64_t>(::getpid()) << 32) + passage);
    if (prng.chance(point.per_mille)) die(point, passage);
  }
}

}  // namespace cairn
