// PeerReader: reads blocks of pieces at other chunk servers, over the data plane.
//
// Owns:     one channel an address, made when needed, closed when unused for kPeerIdle.
// Promises: every block it answers has the CRC its chunk server gave it. A source that has some bad
//           blocks still gives the good ones. An address that refuses is asked again at once: that
//           costs nothing, and a chunk server that was restarted is not waited for. One that says
//           nothing until kPeerConnect is left alone for kPeerAvoid.
// Requires: the loop thread; stop() before it dies, and no read under way then (interrupt() ends
//           them).
// Limits:   kReadsForBadBlocks requests for one read() that meets bad blocks.
// Errors:   those of net::Channel::call and of the peer's store; kProtocol.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/store/types.h"
#include "common/base/buffer.h"
#include "common/net/channel.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::care {

inline constexpr Duration kPeerIdle = 30s;
inline constexpr Duration kPeerConnect = 1s;
// Writers may wait for the repair that reads here: just enough that those who wait for the same
// connection do not wait one after the other.
inline constexpr Duration kPeerAvoid = 250ms;
inline constexpr std::size_t kReadsForBadBlocks = 64;

// A piece where it lies.
struct PeerPiece {
  std::string address;
  PieceId piece;
  ChunkVersion version;
};

struct PeerBlocks {
  // In the order asked; empty: it could not be read. Holes are zeros.
  std::vector<Buffer> blocks;
  std::uint64_t received = 0;  // blocks that are no holes
  // Why some could not.
  std::optional<Error> trouble;
};

class PeerReader {
 public:
  PeerReader(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials);
  ~PeerReader();
  PeerReader(const PeerReader&) = delete;
  PeerReader& operator=(const PeerReader&) = delete;

  // `blocks` ascending, at most kReadBlocksMax.
  Task<Result<PeerBlocks>> read(PeerPiece from, std::vector<std::uint64_t> blocks,
                                Deadline deadline);
  // Closes what was not used for a while.
  void sweep();
  // Reads end soon with an error, now and from now on.
  void interrupt();
  Task<void> stop();
  std::size_t connections() const;

 private:
  struct Link {
    explicit Link(runtime::Runtime& runtime) : connecting(runtime) {}
    std::shared_ptr<net::Channel> channel;
    runtime::Mutex connecting;
    std::size_t users = 0;
    Instant used_at;
    Instant avoid_until;
  };
  struct Part;  // of the blocks asked for
  class Use;

  Task<Result<std::shared_ptr<net::Channel>>> channel(Link* link, std::string address,
                                                      Deadline deadline);
  Task<Status> read_part(std::shared_ptr<net::Channel> channel, const PeerPiece* from,
                         const std::vector<std::uint64_t>* blocks, Part part, PeerBlocks* into,
                         Deadline deadline);
  void retire(Link& link);
  static Task<void> finish(std::shared_ptr<net::Channel> channel);

  runtime::Runtime& runtime_;
  net::Network& network_;
  net::Credentials credentials_;
  Buffer zeros_;
  std::map<std::string, std::unique_ptr<Link>> links_;
  bool stopping_ = false;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::care
