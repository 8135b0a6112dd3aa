// What client and server of hwflush-check say to each other, and how it looks on the wire. Pure.
// See docs/protocols/hwflush.md.
//
// Promises: decoding trusts nothing: any bytes give messages or kProtocol, and at most
//           kPayloadBytesMax are kept of a frame that is not whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "admin/hwflush/record.h"
#include "common/base/buffer.h"
#include "common/base/result.h"

namespace cairn::admin::hwflush {

struct Counter {
  std::uint32_t thread = 0;
  std::uint64_t value = 0;
  friend auto operator<=>(const Counter&, const Counter&) = default;
};
// Ascending by thread, none twice, at most kThreadsMax. A value of 0 is none.
using Counters = std::vector<Counter>;

// Client, first of all: who it is and what the device has.
struct Hello {
  DirectoryId directory;  // on the device, or the one it will get; never empty
  bool fresh = false;     // forget what you know of this place
  std::string host;       // with `path`: the place, should the directory have lost its id
  std::string path;
  Counters on_disk;
  friend bool operator==(const Hello&, const Hello&) = default;
};

enum class KnownBy : std::uint8_t { kNothing, kDirectory, kPlace };

// Server, to a Hello: what it was told before. It takes reports only when no counter on disk is
// lower.
struct Known {
  KnownBy by = KnownBy::kNothing;
  Counters on_server;
  friend bool operator==(const Known&, const Known&) = default;
};

// Client: these counters are on the device, flushed.
struct Report {
  std::uint64_t sequence = 0;
  Counters flushed;
  friend bool operator==(const Report&, const Report&) = default;
};

// Server: the report with this number will not be forgotten.
struct Acknowledge {
  std::uint64_t sequence = 0;
  friend bool operator==(const Acknowledge&, const Acknowledge&) = default;
};

// Server: no; the connection ends.
struct Refuse {
  std::string text;
  friend bool operator==(const Refuse&, const Refuse&) = default;
};

using Message = std::variant<Hello, Known, Report, Acknowledge, Refuse>;

// Requires: the limits of limits.h.
std::vector<std::byte> encode_message(const Message& message);

// Bytes in as they come, messages out.
class MessageDecoder {
 public:
  // Errors are kProtocol and final.
  // The next message; nullopt: more bytes are needed.
  Result<std::optional<Message>> next();
  void append(Bytes bytes);
  // How many bytes may be appended: bounds what is kept.
  std::size_t room() const;

 private:
  std::vector<std::byte> pending_;
};

}  // namespace cairn::admin::hwflush
