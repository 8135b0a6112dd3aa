// Encoding: how many pieces a chunk has and how many of them must take a write.
//
// Spelling: "M+N[:min]" ("4+2", "4+2:5") or replicas "norm[:min]" ("3", "3:2").
//           Replicas are data = 1.
// Allowed:  1+0, 2+1 .. 17+4 with M > N, N <= 4; replicas 1..15.
// Default:  min of replicas is 1 for norm <= 2, else norm / 2 + 1; of M+N it is M + 1 for N >= 2,
//           M for N <= 1.
// Errors:   kInvalidArgument; the message says which rule and what to type instead.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace cairn::erasure {

struct Encoding {
  std::uint8_t data = 1;
  std::uint8_t parity = 0;
  std::uint8_t min = 1;

  static Result<Encoding> parse_code(std::string_view text);      // "M+N[:min]"
  static Result<Encoding> parse_replicas(std::string_view text);  // "norm[:min]"
  // From stored or received numbers: the same rules.
  static Result<Encoding> make(std::uint32_t data, std::uint32_t parity, std::uint32_t min);

  unsigned pieces() const { return static_cast<unsigned>(data) + parity; }
  bool is_replicas() const { return data == 1; }
  // "4+2:5" or "3:2".
  std::string to_string() const;
  // "encoding=4+2:5" or "replicas=3:2": the attribute as set-attr takes it.
  std::string to_attribute() const;
  friend bool operator==(const Encoding&, const Encoding&) = default;
};

}  // namespace cairn::erasure
