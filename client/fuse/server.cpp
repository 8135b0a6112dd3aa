#include "client/fuse/server.h"

#include <cerrno>
#include <vector>

#include "client/fuse/call.h"
#include "client/fuse/directory_handle.h"
#include "client/fuse/fuse_api.h"

namespace cairn::client::fuse {

namespace {

// How soon a second, fatal signal to a waiting caller is seen; the kernel reports only the first.
constexpr Duration kWatchInterval = 200ms;

}  // namespace

Server::Server(runtime::Runtime& runtime, FileSystem& fs, observe::Log& log,
               KernelCache& kernel_cache, Options options)
    : runtime_(runtime),
      fs_(fs),
      log_(log),
      kernel_cache_(kernel_cache),
      options_(options),
      writes_(runtime),
      tasks_(runtime) {}

Server::~Server() {
  CHECK(calls_.empty());
  if (watch_timer_ != 0) runtime_.cancel(watch_timer_);
}

Server* Server::admit(fuse_req_t request, ByteCount bytes) {
  Server* const server = static_cast<Server*>(fuse_req_userdata(request));
  int refusal = 0;
  if (server->refusing_.load(std::memory_order_relaxed)) {
    refusal = ENOTCONN;
  } else if (server->requests_.load(std::memory_order_relaxed) >= kRequestsMax ||
             server->write_bytes_.load(std::memory_order_relaxed) + bytes > kWriteBytesMax) {
    refusal = ENOMEM;
    server->log_.warning("refused a request: {} requests and {} MiB of writes wait",
                         server->requests_.load(), server->write_bytes_.load() >> 20);
  }
  if (refusal != 0) {
    fuse_reply_err(request, refusal);
    return nullptr;
  }
  server->requests_.fetch_add(1, std::memory_order_relaxed);
  server->write_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  return server;
}

void Server::start(Task<void> task) {
  runtime_.post([this, owned = std::move(task)]() mutable { tasks_.spawn(std::move(owned)); });
}

std::uint64_t Server::add(Call* call) {
  const std::uint64_t number = next_call_++;
  calls_.emplace(number, call);
  return number;
}

void Server::remove(std::uint64_t number, ByteCount bytes) {
  calls_.erase(number);
  signalled_.erase(number);
  requests_.fetch_sub(1, std::memory_order_relaxed);
  write_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

// libfuse keeps `request` alive during this call, also when it was answered meanwhile; the Call may
// be gone, so only its number travels.
void Server::interrupted(fuse_req_t request, void* number) {
  Server* const server = static_cast<Server*>(fuse_req_userdata(request));
  server->runtime_.post(
      [server, id = reinterpret_cast<std::uint64_t>(number)] { server->on_interrupt(id); });
}

void Server::on_interrupt(std::uint64_t number) {
  const auto it = calls_.find(number);
  if (it == calls_.end() || it->second->answered()) return;
  if (it->second->caller_killed()) {
    it->second->error(EINTR);
    return;
  }
  signalled_.emplace(number, it->second);
  schedule_watch();
}

void Server::schedule_watch() {
  if (watch_timer_ != 0 || signalled_.empty()) return;
  watch_timer_ = runtime_.schedule(runtime_.after(kWatchInterval), [this] { watch(); });
}

void Server::watch() {
  watch_timer_ = 0;
  for (auto it = signalled_.begin(); it != signalled_.end();) {
    const bool killed = it->second->answered() || it->second->caller_killed();
    if (killed) it->second->error(EINTR);
    it = killed ? signalled_.erase(it) : std::next(it);
  }
  schedule_watch();
}

void Server::answer_all(int errno_value) {
  for (const auto& [number, call] : calls_) call->error(errno_value);
}

Task<void> Server::drained() {
  // Requests that FUSE threads posted before refuse() start first.
  co_await runtime::yield_turn(runtime_);
  co_await tasks_.join();
  for (const auto& [number, handle] : files_.all()) fs_.release(handle.inode, handle.mode);
  files_.all().clear();
  directories_.all().clear();
}

}  // namespace cairn::client::fuse
