// ConversionDuty: has a Converter at work while the master says that files wait for one.
// docs/protocols/conversion.md
//
// Owns:     at most one Converter, made when there is work and gone when there is none.
// Promises: it is interrupted when the chunk server is in trouble (within kLookInterval) and at
//           stop(). One that failed is followed by another only after a pause, which doubles up to
//           kPauseMost while they go on failing: a master that offers work every second is not
//           stormed, nor is the log.
// Requires: the loop thread; co_await stop() before it dies; everything it is given outlives it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "chunkserver/convert/converter.h"
#include "common/observe/log.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::convert {

inline constexpr Duration kLookInterval = 250ms;
inline constexpr Duration kPauseFirst = 1s;
inline constexpr Duration kPauseMost = 60s;

class ConversionDuty {
 public:
  struct Hooks {
    MakeConverter make;             // empty: this chunk server converts nothing
    std::function<bool()> trouble;  // the chunk server does not serve
  };

  ConversionDuty(runtime::Runtime& runtime, observe::Log& log, Hooks hooks);
  ~ConversionDuty();
  ConversionDuty(const ConversionDuty&) = delete;
  ConversionDuty& operator=(const ConversionDuty&) = delete;

  // Files wait for a converter. Said again and again; does nothing while one is at work.
  void offer();
  // The one at work ends soon, and none follows.
  void interrupt();
  Task<void> stop();

  bool working() const { return converter_ != nullptr; }

 private:
  Task<void> work();
  // Whether there is trouble, again and again until the work is over.
  void look();
  void note(const Status& ended);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  const Hooks hooks_;
  std::unique_ptr<Converter> converter_;
  runtime::TimerId look_ = 0;
  bool stopping_ = false;
  Duration pause_ = {};
  Instant next_;  // not before
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::convert
