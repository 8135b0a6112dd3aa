// What make-mds and make-cs ask of an address and of a repository directory before they change
// anything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/units.h"
#include "common/net/stream.h"

namespace cairn::admin {

inline constexpr ByteCount kMdsFreeBytesMin = 10 * 1_GiB;  // guide V2.4.2-8

// "ADDR" or "ADDR:PORT", "::1" or "[::1]:PORT". Pure.
Result<net::Address> parse_address(const std::string& text, std::uint16_t default_port);

// "ADDR[:PORT],..." each. Pure.
Result<std::vector<net::Address>> parse_address_lists(const std::vector<std::string>& lists,
                                                      std::uint16_t default_port);

// Absolute and without links as far as it exists.
Result<std::string> repository_path(const std::string& directory);
// The same; the directory is empty but for a file `except`, or can be made.
Result<std::string> check_repository(const std::string& directory, std::string_view except = {});
// Free bytes of the filesystem where `directory` is or would be made.
Result<ByteCount> free_bytes_at(const std::string& directory);
// Unpredictable, never 0: for ids that must be unique in the world.
std::uint64_t random_id();
std::string host_name();
// The device number of that filesystem.
Result<std::uint64_t> filesystem_of(const std::string& directory);

}  // namespace cairn::admin
