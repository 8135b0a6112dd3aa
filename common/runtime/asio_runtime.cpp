#include "common/runtime/asio_runtime.h"

#include <ctime>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <optional>
#include <random>

#include "common/base/check.h"

namespace cairn::runtime {

namespace {

// Counts the time the machine was suspended, unlike the steady clock: a lease that ran out while
// the
// lid was closed has run out.
Instant boot_now() {
  timespec now{};
  CHECK_EQ(clock_gettime(CLOCK_BOOTTIME, &now), 0);
  return Instant::from_nanos(std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
}

}  // namespace

// All timers share one steady_timer and an ordered map: schedule and cancel stay cheap, and most
// deadlines are cancelled before they fire.
class AsioRuntime::Impl {
 public:
  Impl() : context(1), guard(context.get_executor()), timer(context) {
    std::random_device device;
    for (std::uint64_t& word : state) word = (std::uint64_t{device()} << 32) | device();
  }

  void arm() {
    if (timers.empty()) return;
    const Instant first = timers.begin()->first.first;
    if (armed && *armed <= first) return;
    armed = first;
    timer.expires_after(first - boot_now());
    timer.async_wait([this](const boost::system::error_code& error) {
      if (!error) fire();
    });
  }
  void fire() {
    armed.reset();
    const Instant now = boot_now();
    while (!timers.empty() && timers.begin()->first.first <= now) {
      Callback callback = std::move(timers.begin()->second);
      due.erase(timers.begin()->first.second);
      timers.erase(timers.begin());
      callback();
    }
    arm();
  }

  boost::asio::io_context context;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard;
  boost::asio::steady_timer timer;
  std::map<std::pair<Instant, TimerId>, Callback> timers;
  std::map<TimerId, Instant> due;
  std::optional<Instant> armed;
  TimerId next_timer = 1;
  std::uint64_t state[2] = {};
};

AsioRuntime::AsioRuntime() : impl_(std::make_unique<Impl>()) {}
AsioRuntime::~AsioRuntime() = default;

Instant AsioRuntime::now() const { return boot_now(); }

WallTime AsioRuntime::wall_now() const {
  return WallTime(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count());
}

// xorshift128+ seeded by the system: unpredictable enough for nonces of retries; secrets use
// OpenSSL.
std::uint64_t AsioRuntime::random() {
  std::uint64_t s1 = impl_->state[0];
  const std::uint64_t s0 = impl_->state[1];
  const std::uint64_t result = s0 + s1;
  impl_->state[0] = s0;
  s1 ^= s1 << 23;
  impl_->state[1] = s1 ^ s0 ^ (s1 >> 18) ^ (s0 >> 5);
  return result;
}

void AsioRuntime::post(Callback callback) {
  boost::asio::post(impl_->context, std::move(callback));
}

TimerId AsioRuntime::schedule(Instant at, Callback callback) {
  const TimerId id = impl_->next_timer++;
  impl_->timers.emplace(std::pair(at, id), std::move(callback));
  impl_->due.emplace(id, at);
  impl_->arm();
  return id;
}

void AsioRuntime::cancel(TimerId timer) {
  const auto it = impl_->due.find(timer);
  if (it == impl_->due.end()) return;
  impl_->timers.erase({it->second, timer});
  impl_->due.erase(it);
}

void AsioRuntime::run() { impl_->context.run(); }
void AsioRuntime::stop() { impl_->context.stop(); }
boost::asio::io_context& AsioRuntime::context() { return impl_->context; }

}  // namespace cairn::runtime
