#include "admin/hwflush/stop_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "common/base/check.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin::hwflush {

Result<StopSignals> StopSignals::make() {
  StopSignals result;
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGINT);
  sigaddset(&stops, SIGTERM);
  CHECK_EQ(::pthread_sigmask(SIG_BLOCK, &stops, &result.before_), 0);
  result.blocked_ = true;
  result.signals_ = FileDescriptor(::signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK));
  result.wakes_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (result.signals_.get() < 0 || result.wakes_.get() < 0) {
    return fail(cluster::system_error(errno, "make", "a descriptor for signals"));
  }
  return result;
}

StopSignals::StopSignals(StopSignals&& other) noexcept
    : blocked_(std::exchange(other.blocked_, false)),
      before_(other.before_),
      signals_(std::move(other.signals_)),
      wakes_(std::move(other.wakes_)) {}

StopSignals::~StopSignals() {
  if (blocked_) ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

Wakened StopSignals::wait(std::optional<Duration> at_most) {
  pollfd files[2] = {{signals_.get(), POLLIN, 0}, {wakes_.get(), POLLIN, 0}};
  int milliseconds = -1;
  if (at_most.has_value()) {
    const auto whole = std::chrono::ceil<std::chrono::milliseconds>(*at_most).count();
    milliseconds = static_cast<int>(std::clamp<std::int64_t>(whole, 0, 1'000'000'000));
  }
  const int ready = ::poll(files, 2, milliseconds);
  if (ready > 0 && files[0].revents != 0) {
    signalfd_siginfo taken;
    // Taken: else it would strike when the mask is as before.
    static_cast<void>(::read(signals_.get(), &taken, sizeof taken));
    return Wakened::kSignal;
  }
  if (ready > 0) return Wakened::kWake;
  return Wakened::kTimeout;
}

void StopSignals::wake() const {
  const std::uint64_t one = 1;
  // Fails only when it is full of wakes already.
  static_cast<void>(::write(wakes_.get(), &one, sizeof one));
}

}  // namespace cairn::admin::hwflush
