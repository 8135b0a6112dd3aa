// AsioRuntime: the real clock, timers and loop, over one boost::asio::io_context run by one thread.
//
// Owns:     the io_context.
// Requires: run() on exactly one thread; stop() from any thread.
#pragma once

#include <memory>

#include "common/runtime/runtime.h"

namespace boost::asio {
class io_context;
}

namespace cairn::runtime {

class AsioRuntime final : public Runtime {
 public:
  AsioRuntime();
  ~AsioRuntime() override;

  Instant now() const override;
  WallTime wall_now() const override;
  std::uint64_t random() override;
  void post(Callback callback) override;
  TimerId schedule(Instant at, Callback callback) override;
  void cancel(TimerId timer) override;

  // Runs until stop(). Callbacks still queued then are dropped.
  void run();
  void stop();
  boost::asio::io_context& context();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::runtime
