// DataService: the data plane's requests at one chunk server: decode, check, ask the store, encode.
//
// Promises: a request that does not decode or breaks a limit changes nothing; blocks of a PREPARE
//           are verified against their CRCs before they are stored. A PING is answered at once,
//           whatever the store does.
// Requires: the store outlives every call. Any number of channels share one service.
// Errors:   those of the store, kProtocol, kInvalidArgument, kUnsupported (op of another door).
#pragma once

#include <functional>
#include <vector>

#include "chunkserver/store/piece_store.h"
#include "common/net/channel.h"
#include "proto/data_plane.pb.h"

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

// What the service hands on. An empty one: nobody does that here.
struct ServiceHooks {
  std::function<Task<Result<pb::RepairReply>>(pb::Repair request)> repair;
  // Somebody doubts these blocks. Answers at once.
  std::function<void(PieceId piece, std::vector<store::BlockRange> ranges)> check;
};

class DataService {
 public:
  explicit DataService(store::PieceStore& store, ServiceHooks hooks = {})
      : store_(store), hooks_(std::move(hooks)) {}
  Task<Result<net::Payload>> handle(std::uint16_t op, net::Payload request);
  // For net::accept_channel.
  net::Channel::Handler handler() {
    return
        [this](std::uint16_t op, net::Payload request) { return handle(op, std::move(request)); };
  }
  const ServiceFigures& figures() const { return figures_; }

 private:
  Task<Result<net::Payload>> prepare(net::Payload request);
  Task<Status> unfence(store::PrepareRequest* request);
  Task<Result<net::Payload>> read(net::Payload request);
  Task<Result<net::Payload>> settle(net::Payload request);
  Task<Result<net::Payload>> seal(net::Payload request);
  Task<Result<net::Payload>> resolve(net::Payload request);
  Task<Result<net::Payload>> piece_status(net::Payload request);
  Task<Result<net::Payload>> repair(net::Payload request);
  Result<net::Payload> check(const net::Payload& request);

  store::PieceStore& store_;
  ServiceHooks hooks_;
  ServiceFigures figures_;
};

}  // namespace cairn::chunkserver::data
