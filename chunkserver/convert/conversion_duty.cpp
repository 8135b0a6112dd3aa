#include "chunkserver/convert/conversion_duty.h"

#include <algorithm>
#include <utility>

namespace cairn::chunkserver::convert {

ConversionDuty::ConversionDuty(runtime::Runtime& runtime, observe::Log& log, Hooks hooks)
    : runtime_(runtime),
      log_(log),
      hooks_(std::move(hooks)),
      next_(runtime.now()),
      group_(runtime) {}

ConversionDuty::~ConversionDuty() { CHECK(converter_ == nullptr); }

void ConversionDuty::offer() {
  if (stopping_ || working() || hooks_.make == nullptr) return;
  if (runtime_.now() < next_ || hooks_.trouble()) return;
  Result<std::unique_ptr<Converter>> made = hooks_.make();
  if (!made.has_value()) {
    note(fail(made.error()));
    return;
  }
  converter_ = std::move(*made);
  group_.spawn(work());
}

Task<void> ConversionDuty::work() {
  log_.debug("files wait to be converted: beginning");
  look();
  const Status ended = co_await converter_->run();
  runtime_.cancel(std::exchange(look_, 0));
  co_await converter_->stop();
  converter_.reset();
  note(ended);
}

void ConversionDuty::look() {
  if (!hooks_.trouble()) {
    look_ = runtime_.schedule(runtime_.after(kLookInterval), [this] { look(); });
    return;
  }
  look_ = 0;
  log_.warning("the chunk server is in trouble: it converts no more files");
  converter_->interrupt();
}

void ConversionDuty::note(const Status& ended) {
  if (stopping_) return;
  if (ended.has_value()) {
    log_.debug("no more files to convert");
    pause_ = {};
    return;
  }
  pause_ = pause_ == Duration{} ? Duration(kPauseFirst)
                                : std::min<Duration>(pause_ * 2, Duration(kPauseMost));
  next_ = runtime_.now() + pause_;
  log_.warning("converting files ended: {}; not again within {} s", ended.error().to_string(),
               std::chrono::duration_cast<std::chrono::seconds>(pause_).count());
}

void ConversionDuty::interrupt() {
  if (stopping_) return;
  stopping_ = true;
  if (converter_ != nullptr) converter_->interrupt();
}

Task<void> ConversionDuty::stop() {
  interrupt();
  co_await group_.join();
}

}  // namespace cairn::chunkserver::convert
