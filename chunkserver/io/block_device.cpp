#include "chunkserver/io/block_device.h"

#include <fmt/format.h>

namespace cairn::chunkserver::io {
namespace {

Status check_memory(const void* at, std::size_t length) {
  if (reinterpret_cast<std::uintptr_t>(at) % kBlockBytes != 0 || length % kBlockBytes != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("memory {} + {} is not 4 KiB-aligned", at, length));
  }
  return {};
}

Status check_range(const BlockDevice& device, DiskOffset offset, ByteCount length) {
  if (offset.raw() % kBlockBytes != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("offset {} is not 4 KiB-aligned", offset.raw()));
  }
  if (offset.raw() > device.size() || length > device.size() - offset.raw()) {
    return fail(Code::kInvalidArgument, fmt::format("{} + {} is beyond the end of the device at {}",
                                                    offset.raw(), length, device.size()));
  }
  return {};
}

}  // namespace

ByteCount total_bytes(const std::vector<Bytes>& parts) {
  ByteCount total = 0;
  for (const Bytes& part : parts) total += part.size();
  return total;
}

Status check_read(const BlockDevice& device, DiskOffset offset, MutableBytes into) {
  TRY_VOID(check_memory(into.data(), into.size()));
  return check_range(device, offset, into.size());
}

Status check_write(const BlockDevice& device, DiskOffset offset, const std::vector<Bytes>& parts) {
  if (parts.empty() || parts.size() > kDevicePartsMax) {
    return fail(Code::kInvalidArgument, fmt::format("a write of {} parts", parts.size()));
  }
  for (const Bytes& part : parts) {
    TRY_VOID(check_memory(part.data(), part.size()));
  }
  return check_range(device, offset, total_bytes(parts));
}

}  // namespace cairn::chunkserver::io
