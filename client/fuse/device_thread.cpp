#include "client/fuse/device_thread.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <cstring>

#include "client/fuse/fuse_api.h"
#include "client/fuse/process.h"
#include "common/base/check.h"

namespace cairn::client::fuse {

namespace {

constexpr int kWakeSignal = SIGUSR2;

thread_local CurrentRequest* current_request = nullptr;

// No SA_RESTART: the read must end.
void install_wake_signal() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(kWakeSignal, &action, nullptr);
}

void allow_wake_signal() {
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, kWakeSignal);
  pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
}

}  // namespace

DeviceThread::DeviceThread(fuse_session* session, RequestMemoryPool& pool, observe::Log& log,
                           std::function<void()> on_gone)
    : session_(session), pool_(pool), log_(log), on_gone_(std::move(on_gone)) {
  install_wake_signal();
  thread_ = std::thread([this] { run(); });
}

DeviceThread::~DeviceThread() { CHECK(!thread_.joinable()); }

void DeviceThread::stop() {
  stopping_ = true;
  if (!ended_) pthread_kill(thread_.native_handle(), kWakeSignal);
}

void DeviceThread::join() { thread_.join(); }

WriteBytes DeviceThread::take_current(Bytes bytes) {
  CHECK(current_request != nullptr);
  return current_request->take(bytes);
}

void DeviceThread::run() {
  block_signals_of_this_thread();
  allow_wake_signal();
  CurrentRequest current(pool_);
  current_request = &current;
  while (!stopping_) {
    RequestMemory& memory = current.memory();
    fuse_buf request{};
    request.mem = memory.at();
    request.size = memory.size();
    const int count = fuse_session_receive_buf(session_, &request);
    if (count == -EINTR || count == -EAGAIN) continue;
    if (count < 0) log_.error("reading requests of the kernel failed: {}", std::strerror(-count));
    if (count <= 0) break;
    fuse_session_process_buf(session_, &request);
  }
  current_request = nullptr;
  ended_ = true;
  on_gone_();
}

}  // namespace cairn::client::fuse
