// DataService: the data plane's requests at one chunk server: decode, check, ask the store, encode.
//
// Promises: a request that does not decode or breaks a limit changes nothing; blocks of a PREPARE
//           are verified against their CRCs before they are stored.
// Requires: the store outlives every call. Any number of channels share one service.
// Errors:   those of the store, kProtocol, kInvalidArgument, kUnsupported (op of another door).
#pragma once

#include "chunkserver/store/piece_store.h"
#include "common/net/channel.h"

namespace cairn::chunkserver::data {

// Since the start; what clients moved, not what the disk did.
struct ServiceFigures {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t damaged = 0;  // blocks that arrived with a wrong CRC
  std::uint64_t active = 0;   // PREPAREs and READs under way now
};

class DataService {
 public:
  explicit DataService(store::PieceStore& store) : store_(store) {}
  Task<Result<net::Payload>> handle(std::uint16_t op, net::Payload request);
  // For net::accept_channel.
  net::Channel::Handler handler() {
    return
        [this](std::uint16_t op, net::Payload request) { return handle(op, std::move(request)); };
  }
  const ServiceFigures& figures() const { return figures_; }

 private:
  Task<Result<net::Payload>> prepare(net::Payload request);
  Task<Result<net::Payload>> read(net::Payload request);
  Task<Result<net::Payload>> settle(net::Payload request);
  Task<Result<net::Payload>> seal(net::Payload request);
  Task<Result<net::Payload>> resolve(net::Payload request);
  Task<Result<net::Payload>> piece_status(net::Payload request);

  store::PieceStore& store_;
  ServiceFigures figures_;
};

}  // namespace cairn::chunkserver::data
