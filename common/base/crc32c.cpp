#include "common/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace cairn {

std::uint32_t crc32c(Bytes bytes, std::uint32_t seed) {
  std::uint32_t crc = ~seed;
  // ISA-L takes an int length and promises not to write through the pointer.
  constexpr std::size_t kStep = 1U << 30;
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kStep);
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    crc = crc32_iscsi(data, static_cast<int>(n), crc);
    bytes = bytes.subspan(n);
  }
  return ~crc;
}

}  // namespace cairn
