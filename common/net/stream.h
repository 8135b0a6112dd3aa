// Stream, Listener, Network: byte streams as the upper layers see them. TcpNetwork is the real one,
// SimNetwork (tests/sim) delays, cuts and partitions.
//
// Thread rule: the loop of the Runtime the Network was made with.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/runtime/task.h"

namespace cairn::net {

// "10.30.100.101:2511", "[fe80::1]:2511". parse() refuses names, missing ports and port 0.
struct Address {
  std::string host;
  std::uint16_t port = 0;
  static Result<Address> parse(std::string_view text);
  std::string to_string() const;
  friend auto operator<=>(const Address&, const Address&) = default;
};

class Stream {
 public:
  virtual ~Stream() = default;
  // Reads at least one byte, at most `into.size()`; 0 means the peer ended. Errors:
  // kConnectionLost. One read at a time; `into` stays valid until the task ends.
  virtual Task<Result<std::size_t>> read_some(MutableBytes into) = 0;
  // Writes all parts. One write at a time; the bytes stay valid until the task ends.
  virtual Task<Status> write_all(std::vector<Bytes> parts) = 0;
  // Ends reads and writes under way with kConnectionLost. Idempotent.
  virtual void close() = 0;
  virtual std::string peer() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  virtual Address address() const = 0;  // with the port that was really bound
  virtual void close() = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  // Errors: kTimeout at the deadline, kUnavailable (refused, no route).
  virtual Task<Result<std::unique_ptr<Stream>>> connect(Address to, Deadline deadline) = 0;
  using OnAccept = std::function<void(std::unique_ptr<Stream>)>;
  // Port 0 asks for any. Errors: kBusy, naming the port.
  virtual Result<std::unique_ptr<Listener>> listen(Address at, OnAccept on_accept) = 0;
};

}  // namespace cairn::net
