// TcpStream: a Stream over one connected TCP socket of the loop's io_context.
//
// Promises: TCP_NODELAY, keepalive, close-on-exec; a peer that acknowledges nothing for 60 s, or
//           whose window stays shut that long, is lost. A write that fits the socket buffer is one
//           system call.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include "common/net/stream.h"

namespace cairn::net {

class TcpStream final : public Stream {
 public:
  explicit TcpStream(boost::asio::ip::tcp::socket socket);
  ~TcpStream() override;

  Task<Result<std::size_t>> read_some(MutableBytes into) override;
  Task<Status> write_all(std::vector<Bytes> parts) override;
  void close() override;
  std::string peer() const override;

 private:
  std::unexpected<Error> lost(int error_number) const;

  boost::asio::ip::tcp::socket socket_;
  std::string peer_;
  bool closed_ = false;
  bool reading_ = false;
  bool writing_ = false;
  // The last read filled its buffer, so the next one is tried at once; not for ever, other work
  // waits.
  unsigned full_reads_ = 0;
};

}  // namespace cairn::net
