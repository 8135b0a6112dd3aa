// MemNetwork: a Network inside one process, for tests. Bytes move through bounded pipes; everything
// happens on the loop of `runtime`, in the order the calls were made.
//
// Promises: what TCP promises to the upper layers: order, back-pressure, bytes sent before close()
//           are still read, writes to a closed peer fail with kConnectionLost. Faults:
//           set_unreachable() lets connects run into their deadline; cut() breaks every connection
//           to an address at once, losing what was under way; refused is what nobody listens on.
#pragma once

#include <map>
#include <set>

#include "common/net/stream.h"
#include "common/runtime/runtime.h"

namespace cairn::net {

class MemNetwork final : public Network {
 public:
  explicit MemNetwork(runtime::Runtime& runtime, std::size_t pipe_bytes = 256 * 1024);
  ~MemNetwork() override;

  Task<Result<std::unique_ptr<Stream>>> connect(Address to, Deadline deadline) override;
  Result<std::unique_ptr<Listener>> listen(Address at, OnAccept on_accept) override;

  void set_unreachable(const Address& address, bool unreachable);
  void cut(const Address& address);

 private:
  class MemListener;
  class MemStream;
  struct Pipe;
  struct Connection;
  struct Door;
  struct World;
  std::shared_ptr<World> world_;
};

}  // namespace cairn::net
