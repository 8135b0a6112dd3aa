#include "admin/hwflush/protocol.h"

#include <algorithm>

#include "admin/hwflush/limits.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::admin::hwflush {
namespace {

constexpr std::uint32_t kMagic = 0x46574843;  // "CHWF"
constexpr std::uint8_t kVersion = 1;
// magic u32, version u8, type u8, reserved u16, payload length u32, CRC32C of the payload u32
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kFrameBytesMax = kHeaderBytes + kPayloadBytesMax;

enum class Type : std::uint8_t {
  kHello = 1,
  kKnown = 2,
  kReport = 3,
  kAcknowledge = 4,
  kRefuse = 5
};

class Writer {
 public:
  template <class T>
  void number(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    store_le<T>(bytes_.data() + at, value);
  }
  void text(const std::string& value, std::size_t max) {
    CHECK_LE(value.size(), max);
    number(static_cast<std::uint16_t>(value.size()));
    const Bytes bytes = as_bytes(value);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void counters(const Counters& values) {
    CHECK_LE(values.size(), std::size_t{kThreadsMax});
    number(static_cast<std::uint16_t>(values.size()));
    for (const Counter& counter : values) {
      number(counter.thread);
      number(counter.value);
    }
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Past the end everything is 0 and good() is false.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}
  template <class T>
  T number() {
    if (bytes_.size() < sizeof(T)) {
      good_ = false;
      bytes_ = {};
      return T{};
    }
    const T value = load_le<T>(bytes_.data());
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  std::string text(std::size_t max) {
    const std::size_t length = number<std::uint16_t>();
    if (length > max || length > bytes_.size()) {
      good_ = false;
      return {};
    }
    const std::string value(as_text(bytes_.first(length)));
    bytes_ = bytes_.subspan(length);
    return value;
  }
  Counters counters() {
    const std::size_t count = number<std::uint16_t>();
    Counters values;
    if (count > kThreadsMax) good_ = false;
    for (std::size_t i = 0; i < count && good_; ++i) {
      Counter counter;
      counter.thread = number<std::uint32_t>();
      counter.value = number<std::uint64_t>();
      const bool ascending = values.empty() || values.back().thread < counter.thread;
      if (counter.thread >= kThreadsMax || !ascending) good_ = false;
      values.push_back(counter);
    }
    return values;
  }
  bool good() const { return good_ && bytes_.empty(); }

 private:
  Bytes bytes_;
  bool good_ = true;
};

struct Payload {
  Type type;
  std::vector<std::byte> bytes;
};

Payload encode(const Hello& hello) {
  CHECK(!hello.directory.empty());
  Writer out;
  out.number(hello.directory.high);
  out.number(hello.directory.low);
  out.number(static_cast<std::uint8_t>(hello.fresh ? 1 : 0));
  out.text(hello.host, kHostBytesMax);
  out.text(hello.path, kPathBytesMax);
  out.counters(hello.on_disk);
  return {Type::kHello, out.take()};
}
Payload encode(const Known& known) {
  Writer out;
  out.number(static_cast<std::uint8_t>(known.by));
  out.counters(known.on_server);
  return {Type::kKnown, out.take()};
}
Payload encode(const Report& report) {
  Writer out;
  out.number(report.sequence);
  out.counters(report.flushed);
  return {Type::kReport, out.take()};
}
Payload encode(const Acknowledge& acknowledge) {
  Writer out;
  out.number(acknowledge.sequence);
  return {Type::kAcknowledge, out.take()};
}
Payload encode(const Refuse& refuse) {
  Writer out;
  out.text(refuse.text.substr(0, kTextBytesMax), kTextBytesMax);
  return {Type::kRefuse, out.take()};
}

std::optional<Message> read_hello(Reader in) {
  Hello hello;
  hello.directory.high = in.number<std::uint64_t>();
  hello.directory.low = in.number<std::uint64_t>();
  const auto fresh = in.number<std::uint8_t>();
  hello.fresh = fresh == 1;
  hello.host = in.text(kHostBytesMax);
  hello.path = in.text(kPathBytesMax);
  hello.on_disk = in.counters();
  if (!in.good() || fresh > 1 || hello.directory.empty()) return std::nullopt;
  return hello;
}
std::optional<Message> read_known(Reader in) {
  Known known;
  const auto by = in.number<std::uint8_t>();
  known.on_server = in.counters();
  if (!in.good() || by > static_cast<std::uint8_t>(KnownBy::kPlace)) return std::nullopt;
  known.by = static_cast<KnownBy>(by);
  return known;
}
std::optional<Message> read_report(Reader in) {
  Report report;
  report.sequence = in.number<std::uint64_t>();
  report.flushed = in.counters();
  if (!in.good()) return std::nullopt;
  return report;
}
std::optional<Message> read_acknowledge(Reader in) {
  Acknowledge acknowledge;
  acknowledge.sequence = in.number<std::uint64_t>();
  if (!in.good()) return std::nullopt;
  return acknowledge;
}
std::optional<Message> read_refuse(Reader in) {
  Refuse refuse;
  refuse.text = in.text(kTextBytesMax);
  if (!in.good()) return std::nullopt;
  return refuse;
}

std::optional<Message> decode(std::uint8_t type, Bytes payload) {
  switch (static_cast<Type>(type)) {
    case Type::kHello:
      return read_hello(Reader(payload));
    case Type::kKnown:
      return read_known(Reader(payload));
    case Type::kReport:
      return read_report(Reader(payload));
    case Type::kAcknowledge:
      return read_acknowledge(Reader(payload));
    case Type::kRefuse:
      return read_refuse(Reader(payload));
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::byte> encode_message(const Message& message) {
  const Payload payload = std::visit([](const auto& value) { return encode(value); }, message);
  CHECK_LE(payload.bytes.size(), kPayloadBytesMax);
  Writer out;
  out.number(kMagic);
  out.number(kVersion);
  out.number(static_cast<std::uint8_t>(payload.type));
  out.number(std::uint16_t{0});
  out.number(static_cast<std::uint32_t>(payload.bytes.size()));
  out.number(crc32c(payload.bytes));
  std::vector<std::byte> frame = out.take();
  frame.insert(frame.end(), payload.bytes.begin(), payload.bytes.end());
  return frame;
}

void MessageDecoder::append(Bytes bytes) {
  CHECK_LE(bytes.size(), room());
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
}

std::size_t MessageDecoder::room() const { return kFrameBytesMax - pending_.size(); }

Result<std::optional<Message>> MessageDecoder::next() {
  if (pending_.size() < kHeaderBytes) return std::optional<Message>();
  const std::byte* const header = pending_.data();
  if (load_le<std::uint32_t>(header) != kMagic) {
    return fail(Code::kProtocol, "the other side does not speak as hwflush-check does");
  }
  const auto version = load_le<std::uint8_t>(header + 4);
  if (version != kVersion) {
    return fail(Code::kProtocol, "the other side speaks version " + std::to_string(version) +
                                     " of hwflush-check, this one speaks version " +
                                     std::to_string(kVersion));
  }
  const std::size_t length = load_le<std::uint32_t>(header + 8);
  if (length > kPayloadBytesMax) {
    return fail(Code::kProtocol, "a message of " + std::to_string(length) + " bytes");
  }
  if (pending_.size() < kHeaderBytes + length) return std::optional<Message>();
  const Bytes payload = Bytes(pending_).subspan(kHeaderBytes, length);
  if (load_le<std::uint32_t>(header + 12) != crc32c(payload)) {
    return fail(Code::kProtocol, "a message was damaged on its way");
  }
  std::optional<Message> message = decode(load_le<std::uint8_t>(header + 5), payload);
  if (!message.has_value()) return fail(Code::kProtocol, "a message that makes no sense");
  pending_.erase(pending_.begin(),
                 pending_.begin() + static_cast<std::ptrdiff_t>(kHeaderBytes + length));
  return message;
}

}  // namespace cairn::admin::hwflush
