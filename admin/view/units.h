// Numbers for people, in the guide's spelling ("238GB", "33 min", "17d  6h"), and sizes from
// people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::admin {

// Powers of 1024: "0B", "762B", "1.5KB", "238GB". One decimal below 10.
std::string format_size(ByteCount bytes);
std::string format_rate(double bytes_per_second);  // "12MB/s"
std::string format_operations(double per_second);  // "120ops/s"
std::string format_percent(double share);          // 0.02 -> "2.0%"
// "45 sec", "33 min", " 3h 20m", "17d  6h".
std::string format_duration(std::uint64_t nanoseconds);
std::string format_hex16(std::uint64_t raw);
// Local time, "2024-05-21 16:55:20".
std::string format_time(std::int64_t nanoseconds);
// UTC, "2024-05-21T16:55:20.123Z".
std::string format_time_iso(std::int64_t nanoseconds);

// "20G", "512M", "1.5T", "20GiB", "4096". Error: kInvalidArgument.
Result<ByteCount> parse_size(std::string_view text);

}  // namespace cairn::admin
