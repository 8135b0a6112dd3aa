// Converter: brings files into another encoding, one after the other, as an ordinary client of the
// cluster. What ConversionDuty starts; client_converter.h makes the real one.
//
// Requires: the loop thread; run() ended and co_await stop() before it dies.
#pragma once

#include <functional>
#include <memory>

#include "common/base/result.h"
#include "common/runtime/task.h"

namespace cairn::chunkserver::convert {

class Converter {
 public:
  virtual ~Converter() = default;
  // Once: until the master has no file for it any more, or it cannot go on.
  virtual Task<Status> run() = 0;
  // run() ends soon: the file it has stays as it is. Also before run(), and again.
  virtual void interrupt() = 0;
  virtual Task<void> stop() = 0;
};

// nullptr with an error: there can be none now.
using MakeConverter = std::function<Result<std::unique_ptr<Converter>>()>;

}  // namespace cairn::chunkserver::convert
