#include "admin/view/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <system_error>

namespace cairn::admin {
namespace {

constexpr std::array<std::string_view, 7> kSuffixes = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

std::string scaled(double value) {
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kSuffixes.size()) {
    value /= 1024;
    ++unit;
  }
  const double tenths = std::round(value * 10) / 10;
  if (unit == 0 || value >= 9.95 || std::floor(tenths) == tenths) {
    return fmt::format("{:.0f}{}", value, kSuffixes[unit]);
  }
  return fmt::format("{:.1f}{}", value, kSuffixes[unit]);
}

std::string broken_down(std::int64_t nanoseconds, bool utc, const char* format) {
  const std::time_t seconds = nanoseconds / kNanosPerSecond;
  std::tm parts = {};
  if (utc) {
    ::gmtime_r(&seconds, &parts);
  } else {
    ::localtime_r(&seconds, &parts);
  }
  std::array<char, 64> text = {};
  const std::size_t length = std::strftime(text.data(), text.size(), format, &parts);
  return {text.data(), length};
}

}  // namespace

std::string format_size(ByteCount bytes) { return scaled(static_cast<double>(bytes)); }

std::string format_rate(double bytes_per_second) {
  return scaled(std::floor(bytes_per_second)) + "/s";
}

std::string format_operations(double per_second) { return fmt::format("{:.0f}ops/s", per_second); }

std::string format_percent(double share) { return fmt::format("{:.1f}%", share * 100); }

std::string format_duration(std::uint64_t nanoseconds) {
  const std::uint64_t seconds = nanoseconds / static_cast<std::uint64_t>(kNanosPerSecond);
  const std::uint64_t minutes = seconds / 60;
  const std::uint64_t hours = minutes / 60;
  if (minutes == 0) return fmt::format("{} sec", seconds);
  if (hours == 0) return fmt::format("{} min", minutes);
  if (hours < 24) return fmt::format("{:2}h {:2}m", hours, minutes % 60);
  return fmt::format("{:2}d {:2}h", hours / 24, hours % 24);
}

std::string format_hex16(std::uint64_t raw) { return fmt::format("{:016x}", raw); }

std::string format_time(std::int64_t nanoseconds) {
  return broken_down(nanoseconds, false, "%Y-%m-%d %H:%M:%S");
}

std::string format_time_iso(std::int64_t nanoseconds) {
  const std::int64_t millis = nanoseconds % kNanosPerSecond / 1'000'000;
  return broken_down(nanoseconds, true, "%Y-%m-%dT%H:%M:%S") + fmt::format(".{:03}Z", millis);
}

Result<ByteCount> parse_size(std::string_view text) {
  const std::string quoted = "'" + std::string(text) + "'";
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !(number >= 0)) {
    return fail(Code::kInvalidArgument, quoted + " is not a size: write it as 20G, 512M or 1.5T");
  }
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  int power = 0;
  if (!unit.empty()) {
    const std::size_t found = std::string_view("BKMGTP").find(
        static_cast<char>(unit[0] >= 'a' && unit[0] <= 'z' ? unit[0] - 'a' + 'A' : unit[0]));
    const std::string_view rest = unit.substr(1);
    const bool suffix = rest.empty() || rest == "B" || rest == "b" || rest == "iB";
    if (found == std::string_view::npos || !suffix || (found == 0 && !rest.empty())) {
      return fail(Code::kInvalidArgument, quoted + " has the unknown unit '" + std::string(unit) +
                                              "': use K, M, G, T or P");
    }
    power = static_cast<int>(found);
  }
  const double bytes = std::ldexp(number, 10 * power);
  if (bytes >= 0x1p62) return fail(Code::kInvalidArgument, quoted + " is too big");
  return static_cast<ByteCount>(bytes);
}

}  // namespace cairn::admin
