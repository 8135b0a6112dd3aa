// StopSignals: SIGINT and SIGTERM as something to wait for, beside a wake-up from other threads.
//
// Requires: made before the threads that shall not be interrupted; one at a time.
// Promises: when it dies, the signals end the process again.
#pragma once

#include <signal.h>

#include <optional>

#include "admin/drive/file_descriptor.h"
#include "common/base/result.h"
#include "common/base/time.h"

namespace cairn::admin::hwflush {

enum class Wakened { kSignal, kWake, kTimeout };

class StopSignals {
 public:
  static Result<StopSignals> make();
  ~StopSignals();
  StopSignals(StopSignals&& other) noexcept;
  StopSignals& operator=(StopSignals&&) = delete;

  // nullopt: as long as it takes. A wake() before the call counts.
  Wakened wait(std::optional<Duration> at_most);
  // Any thread.
  void wake() const;

 private:
  StopSignals() = default;

  bool blocked_ = false;
  sigset_t before_ = {};
  FileDescriptor signals_;
  FileDescriptor wakes_;
};

}  // namespace cairn::admin::hwflush
