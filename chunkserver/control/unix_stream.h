// UnixStream: a Stream over a Unix socket of the loop's io_context; UnixListener: takes connections
// of root and our own user.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/cluster/control_socket.h"
#include "common/net/stream.h"
#include "common/observe/log.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::chunkserver::control {

// Of a connected Unix socket. Error: kInvalidArgument: it is none.
Result<std::unique_ptr<net::Stream>> make_unix_stream(runtime::AsioRuntime& runtime,
                                                      cairn::cluster::Socket socket);

class UnixListener {
 public:
  using OnAccept = std::function<void(std::unique_ptr<net::Stream>)>;
  // `socket` listens.
  UnixListener(runtime::AsioRuntime& runtime, cairn::cluster::Socket socket, observe::Log& log,
               OnAccept on_accept);
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

 private:
  class State;
  std::shared_ptr<State> state_;  // a handler of the loop may run once more after we are gone
};

}  // namespace cairn::chunkserver::control
