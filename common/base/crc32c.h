// CRC32C (Castagnoli polynomial, RFC 3720 appendix B.4), by ISA-L on the path the CPU selects.
// crc32c("123456789") = 0xe3069283.
#pragma once

#include <cstdint>

#include "common/base/buffer.h"

namespace cairn {

// Extends `seed` (the CRC of what came before; 0 at the start).
std::uint32_t crc32c(Bytes bytes, std::uint32_t seed = 0);

}  // namespace cairn
