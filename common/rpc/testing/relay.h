// Relay: a TCP door before a server, for tests of what happens when the server hangs or its host
//        vanishes:
// frozen, it takes connections and bytes and passes nothing on, like a stopped process.
//
// Requires: the loop; co_await stop() before it dies.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "common/base/buffer.h"
#include "common/net/tcp_network.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::rpc::testing {

class Relay {
 public:
  // `at` with port 0: any.
  Relay(runtime::AsioRuntime& loop, net::Address target, net::Address at = {"127.0.0.1", 0})
      : loop_(loop), target_(std::move(target)), network_(loop), thawed_(loop), tasks_(loop) {
    listener_ = network_
                    .listen(std::move(at),
                            [this](std::unique_ptr<net::Stream> stream) {
                              tasks_.spawn(serve(this, std::move(stream)));
                            })
                    .value();
  }

  net::Address address() const { return listener_->address(); }
  void freeze() { frozen_ = true; }
  void thaw() {
    frozen_ = false;
    thawed_.notify_all();
  }
  // Connections made so far.
  std::size_t accepted() const { return accepted_; }
  Task<void> stop() {
    listener_->close();
    stopping_ = true;
    thaw();
    for (const auto& both : open_) {
      both->near->close();
      if (both->far != nullptr) both->far->close();
    }
    co_await tasks_.join();
  }

 private:
  struct Both {
    std::unique_ptr<net::Stream> near;
    std::unique_ptr<net::Stream> far;
  };

  static Task<void> serve(Relay* relay, std::unique_ptr<net::Stream> near) {
    ++relay->accepted_;
    auto both = std::make_shared<Both>();
    both->near = std::move(near);
    relay->open_.push_back(both);
    while (relay->frozen_) co_await relay->thawed_.wait();
    net::Address to = relay->target_;
    const Deadline deadline = relay->loop_.now() + 1s;
    Result<std::unique_ptr<net::Stream>> far =
        co_await relay->network_.connect(std::move(to), deadline);
    if (!far.has_value() || relay->stopping_) {
      both->near->close();
      co_return;
    }
    both->far = std::move(*far);
    runtime::TaskGroup ways(relay->loop_);
    ways.spawn(pass(relay, both.get(), both->near.get(), both->far.get()));
    ways.spawn(pass(relay, both.get(), both->far.get(), both->near.get()));
    co_await ways.join();
    std::erase(relay->open_, both);
  }
  static Task<void> pass(Relay* relay, Both* both, net::Stream* from, net::Stream* to) {
    std::vector<std::byte> bytes(65'536);
    for (;;) {
      const MutableBytes into(bytes);
      const Result<std::size_t> got = co_await from->read_some(into);
      while (relay->frozen_) co_await relay->thawed_.wait();
      if (!got.has_value() || *got == 0) break;
      std::vector<Bytes> parts{Bytes(bytes.data(), *got)};
      const Status passed = co_await to->write_all(std::move(parts));
      if (!passed.has_value()) break;
    }
    both->near->close();
    both->far->close();
  }

  runtime::AsioRuntime& loop_;
  const net::Address target_;
  net::TcpNetwork network_;
  runtime::Signal thawed_;
  runtime::TaskGroup tasks_;
  std::unique_ptr<net::Listener> listener_;
  std::vector<std::shared_ptr<Both>> open_;
  std::size_t accepted_ = 0;
  bool frozen_ = false;
  bool stopping_ = false;
};

}  // namespace cairn::rpc::testing
