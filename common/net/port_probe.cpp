#include "common/net/port_probe.h"

#include "common/net/tcp_network.h"

namespace cairn::net {

Status probe_listen(const Address& at) {
  runtime::AsioRuntime loop;
  TcpNetwork network(loop);
  TRY_VOID(network.listen(at, [](std::unique_ptr<Stream>) {}));
  return {};
}

}  // namespace cairn::net
