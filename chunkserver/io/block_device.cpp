#include "chunkserver/io/block_device.h"

#include <fmt/format.h>

#include <utility>

#include "common/runtime/task_group.h"

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

Task<void> write_one(BlockDevice* device, DeviceWrite write, Status* first_error) {
  Status status = co_await device->write(write.offset, std::move(write.parts));
  if (!status.has_value() && first_error->has_value()) *first_error = std::move(status);
}

}  // namespace

Task<Status> BlockDevice::write_durably(std::vector<DeviceWrite> writes) {
  CO_TRY_VOID(check_writes(*this, writes));
  Status written;
  runtime::TaskGroup group(runtime_);
  for (DeviceWrite& write : writes) {
    group.spawn(write_one(this, std::move(write), &written));
  }
  co_await group.join();
  if (!written.has_value()) co_return written;
  co_return co_await flush();
}

Task<Status> BlockDevice::write_through(DeviceWrite write) {
  std::vector<DeviceWrite> writes;
  writes.push_back(std::move(write));
  co_return co_await write_durably(std::move(writes));
}

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

Status check_writes(const BlockDevice& device, const std::vector<DeviceWrite>& writes) {
  for (const DeviceWrite& write : writes) {
    TRY_VOID(check_write(device, write.offset, write.parts));
  }
  return {};
}

}  // namespace cairn::chunkserver::io
