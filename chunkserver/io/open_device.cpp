#include "chunkserver/io/open_device.h"

#include "chunkserver/io/pool_device.h"
#include "chunkserver/io/uring_device.h"

namespace cairn::chunkserver::io {
namespace {

constexpr unsigned kPoolThreads = 8;

}  // namespace

Result<std::unique_ptr<BlockDevice>> open_device(runtime::AsioRuntime& runtime,
                                                 const std::string& path, DeviceOptions options) {
  TRY(DeviceFile file, DeviceFile::open(path, options.create));
  std::string note = "io_uring is switched off";
  if (options.allow_uring) {
    Result<std::unique_ptr<UringDevice>> uring = UringDevice::make(runtime, file);
    if (uring.has_value()) return std::unique_ptr<BlockDevice>(std::move(*uring));
    if (uring.error().code() != Code::kUnsupported) return fail(std::move(uring).error());
    note = uring.error().message();
  }
  return std::unique_ptr<BlockDevice>(
      std::make_unique<PoolDevice>(runtime, std::move(file), kPoolThreads, std::move(note)));
}

}  // namespace cairn::chunkserver::io
