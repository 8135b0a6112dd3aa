// Reporter: the client's connection to the server, on a thread of its own. The threads that write
// tell it what is flushed and wait until the server has it, so the server is never more than one
// counter behind the device; what several threads tell meanwhile travels in one message.
//
// Promises: after the first failure nothing more is told and every call gives that failure.
// Requires: greet() once, before tell(); close() or the destructor from one thread, after the last
//           tell().
// Errors:   kUnavailable, kTimeout, kConnectionLost (the server is gone), kRefusedForSafety (it
//           refused; its words), kProtocol.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "admin/hwflush/message_stream.h"
#include "admin/hwflush/protocol.h"
#include "common/net/tcp_network.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::admin::hwflush {

class Reporter {
 public:
  // `on_failure` is called once, on the reporter's thread.
  explicit Reporter(std::function<void()> on_failure);
  ~Reporter();

  // At the first of the addresses that answers.
  Result<Known> greet(std::vector<net::Address> servers, Hello hello);
  // Any thread: the counter is flushed. Returns when the server has it.
  Status tell(Counter flushed);
  void close();

 private:
  Task<void> run(std::vector<net::Address> servers, Hello hello);
  Task<Status> connect(std::vector<net::Address> servers);
  Task<Result<Known>> say_hello(Hello hello);
  Task<Status> report_all();
  Task<Result<Message>> answer();
  Counters take_waiting();
  void set_failure(const Error& error);
  void set_known(Result<Known> known);

  const std::function<void()> on_failure_;
  runtime::AsioRuntime runtime_;
  net::TcpNetwork network_;
  runtime::Signal wake_;
  runtime::TaskGroup tasks_;
  std::unique_ptr<MessageStream> stream_;
  std::uint64_t sequence_ = 0;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<std::uint32_t, std::uint64_t> waiting_;  // not sent yet, one a thread
  std::map<std::uint32_t, std::uint64_t> told_;     // acknowledged
  std::optional<Result<Known>> known_;
  std::optional<Error> failure_;
  bool closing_ = false;

  std::jthread loop_;
};

}  // namespace cairn::admin::hwflush
