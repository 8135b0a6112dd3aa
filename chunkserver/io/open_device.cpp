#include "chunkserver/io/open_device.h"

#include "chunkserver/io/pool_device.h"
#include "chunkserver/io/uring_device.h"

namespace cairn::chunkserver::io {

Result<std::unique_ptr<BlockDevice>> open_device(runtime::AsioRuntime& runtime,
                                                 const std::string& path, DeviceOptions options) {
  TRY(DeviceFile file, DeviceFile::open(path, options.create));
  if (options.allow_uring) {
    Result<std::unique_ptr<UringDevice>> uring = UringDevice::make(runtime, file);
    if (uring.has_value()) return std::unique_ptr<BlockDevice>(std::move(*uring));
    if (uring.error().code() != Code::kUnsupported) return fail(std::move(uring).error());
  }
  return std::unique_ptr<BlockDevice>(std::make_unique<PoolDevice>(runtime, std::move(file)));
}

}  // namespace cairn::chunkserver::io
