// FakeMds: one MDS as the admin tool sees it, at a real port of this host, with answers that a test
// decides. On a loop and a thread of its own.
//
// Owns:     the thread; the destructor ends it.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/net/channel.h"
#include "common/observe/log.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/rpc.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"
#include "proto/admin.pb.h"

namespace cairn::admin::testing {

class FakeMds {
 public:
  // Request bytes -> reply bytes. Runs on the fake's thread, one at a time.
  using Answer = std::function<Result<std::string>(const std::string&)>;

  explicit FakeMds(net::Credentials credentials) : log_(observe::make_null_log()), stop_(runtime_) {
    for (const char* method :
         {"Hello", "AddCs", "AddMds", "RemoveMds", "CheckMds", "Stat", "SetConfig", "GetConfig",
          "SetPolicy", "GetPolicy", "Scrub", "ScrubStatus"}) {
      const std::string path = std::string("/cairn.pb.Admin/") + method;
      dispatcher_.add(path, rpc::Handler([this, path](std::string request) {
                        return handle(this, path, std::move(request));
                      }));
    }
    server_.emplace(runtime_, *log_, dispatcher_, std::move(credentials));
    thread_ = std::thread([this] {
      runtime::TaskGroup group(runtime_);
      runtime_.post([this, &group] { group.spawn(serve(this)); });
      runtime_.run();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return address_.port != 0; });
  }
  ~FakeMds() {
    stop_.set_from_any_thread({});
    thread_.join();
  }
  FakeMds(const FakeMds&) = delete;
  FakeMds& operator=(const FakeMds&) = delete;

  net::Address address() const { return address_; }
  std::string place() const { return address_.to_string(); }
  // Without an answer a method says kNotMaster.
  void answer(const std::string& method, Answer answer) {
    const std::lock_guard lock(mutex_);
    answers_["/cairn.pb.Admin/" + method] = std::move(answer);
  }
  void say_hello(std::uint32_t id, std::string master) {
    answer("Hello", [id, master](const std::string&) -> Result<std::string> {
      pb::HelloReply reply;
      reply.set_cluster_id(kClusterId);
      reply.set_mds_id(id);
      reply.set_master(master);
      return reply.SerializeAsString();
    });
  }
  int calls(const std::string& method) const {
    const std::lock_guard lock(mutex_);
    const auto it = calls_.find("/cairn.pb.Admin/" + method);
    return it == calls_.end() ? 0 : it->second;
  }

  static constexpr std::uint64_t kClusterId = 0xabcdef;

 private:
  static Task<Result<std::string>> handle(FakeMds* self, std::string method, std::string request) {
    const std::lock_guard lock(self->mutex_);
    ++self->calls_[method];
    const auto it = self->answers_.find(method);
    if (it == self->answers_.end()) co_return fail(Code::kNotMaster);
    co_return it->second(request);
  }
  static Task<void> serve(FakeMds* self) {
    const net::Address any{.host = "127.0.0.1", .port = 0};
    const Result<net::Address> at = self->server_->start(any);
    CHECK(at.has_value());
    {
      const std::lock_guard lock(self->mutex_);
      self->address_ = *at;
    }
    self->changed_.notify_all();
    const Status wanted = co_await self->stop_.wait();
    CHECK(wanted.has_value());
    const Deadline soon = self->runtime_.after(1s);
    co_await self->server_->stop(soon);
    self->server_.reset();
    self->runtime_.post([self] { self->runtime_.stop(); });
  }

  runtime::AsioRuntime runtime_;
  std::unique_ptr<observe::Log> log_;
  rpc::Dispatcher dispatcher_;
  std::optional<rpc::GrpcServer> server_;
  runtime::Completion<Status> stop_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  net::Address address_;
  std::map<std::string, Answer> answers_;
  std::map<std::string, int> calls_;
  std::thread thread_;
};

}  // namespace cairn::admin::testing
