// open_device: the best BlockDevice this machine allows for a file: io_uring, else threads.
#pragma once

#include <memory>
#include <string>

#include "chunkserver/io/block_device.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::chunkserver::io {

struct DeviceOptions {
  bool create = false;
  bool allow_uring = true;
};

// engine() of the answer says which it is, engine_note() why it is not the best.
// Errors:   kNotFound, kDiskFailed.
Result<std::unique_ptr<BlockDevice>> open_device(runtime::AsioRuntime& runtime,
                                                 const std::string& path, DeviceOptions options);

}  // namespace cairn::chunkserver::io
