#include "common/net/frame.h"

#include "common/base/crc32c.h"
#include "common/base/limits.h"

namespace cairn::net {
namespace {

// Where each field stands.
constexpr std::size_t kAtMagic = 0;
constexpr std::size_t kAtVersion = 4;
constexpr std::size_t kAtKind = 5;
constexpr std::size_t kAtOp = 6;
constexpr std::size_t kAtRequestId = 8;
constexpr std::size_t kAtDeadline = 16;
constexpr std::size_t kAtError = 20;
constexpr std::size_t kAtMetaBytes = 24;
constexpr std::size_t kAtBodyBytes = 28;
constexpr std::size_t kAtMetaCrc = 32;
constexpr std::size_t kAtReserved = 36;  // 8 bytes of zero
constexpr std::size_t kAtHeaderCrc = 44;
static_assert(kAtHeaderCrc + 4 == kFrameHeaderBytes);

// Empty when the fields agree with each other.
const char* what_is_wrong(const FrameHeader& h) {
  if (h.meta_bytes > limits::kFrameMetaBytesMax) return "meta too long";
  if (h.body_bytes > limits::kFrameBodyBytesMax) return "body too long";
  if ((h.kind == FrameKind::kOneway) != (h.request_id == 0)) return "bad request id";
  if (h.kind != FrameKind::kReply && h.error_code != 0) return "error code outside a reply";
  if (h.kind != FrameKind::kRequest && h.deadline_ms != 0) return "deadline outside a request";
  if (h.error_code != 0 && h.body_bytes != 0) return "error reply with a body";
  return nullptr;
}

}  // namespace

std::string FrameHeader::to_string() const {
  constexpr const char* kNames[] = {"?", "request", "reply", "oneway"};
  return std::string(kNames[static_cast<int>(kind)]) + " op " + std::to_string(op) + " id " +
         std::to_string(request_id) + " error " + std::to_string(error_code) + " meta " +
         std::to_string(meta_bytes) + " body " + std::to_string(body_bytes);
}

void encode_frame_header(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> out) {
  CHECK(what_is_wrong(header) == nullptr);
  std::byte* const at = out.data();
  store_le(at + kAtMagic, kFrameMagic);
  store_le(at + kAtVersion, kFrameVersion);
  store_le(at + kAtKind, header.kind);
  store_le(at + kAtOp, header.op);
  store_le(at + kAtRequestId, header.request_id);
  store_le(at + kAtDeadline, header.deadline_ms);
  store_le(at + kAtError, header.error_code);
  store_le(at + kAtMetaBytes, header.meta_bytes);
  store_le(at + kAtBodyBytes, header.body_bytes);
  store_le(at + kAtMetaCrc, header.meta_crc);
  store_le(at + kAtReserved, std::uint64_t{0});
  store_le(at + kAtHeaderCrc, crc32c(out.first(kAtHeaderCrc)));
}

Result<FrameHeader> decode_frame_header(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  const std::byte* const at = bytes.data();
  if (load_le<std::uint32_t>(at + kAtMagic) != kFrameMagic) {
    return fail(Code::kProtocol, "not a Cairn frame");
  }
  const auto version = load_le<std::uint8_t>(at + kAtVersion);
  if (version != kFrameVersion) {
    return fail(Code::kProtocol, "frame format " + std::to_string(version) + " is not known here");
  }
  if (load_le<std::uint32_t>(at + kAtHeaderCrc) != crc32c(bytes.first(kAtHeaderCrc))) {
    return fail(Code::kProtocol, "checksum of a frame header does not match");
  }
  const auto kind = load_le<std::uint8_t>(at + kAtKind);
  if (kind < 1 || kind > 3) return fail(Code::kProtocol, "unknown kind of frame");
  if (load_le<std::uint64_t>(at + kAtReserved) != 0) {
    return fail(Code::kProtocol, "reserved bytes of a frame are not zero");
  }
  FrameHeader header;
  header.kind = static_cast<FrameKind>(kind);
  header.op = load_le<std::uint16_t>(at + kAtOp);
  header.request_id = load_le<std::uint64_t>(at + kAtRequestId);
  header.deadline_ms = load_le<std::uint32_t>(at + kAtDeadline);
  header.error_code = load_le<std::uint32_t>(at + kAtError);
  header.meta_bytes = load_le<std::uint32_t>(at + kAtMetaBytes);
  header.body_bytes = load_le<std::uint32_t>(at + kAtBodyBytes);
  header.meta_crc = load_le<std::uint32_t>(at + kAtMetaCrc);
  const char* const wrong = what_is_wrong(header);
  if (wrong != nullptr) return fail(Code::kProtocol, std::string("bad frame: ") + wrong);
  return header;
}

Status check_frame_meta(const FrameHeader& header, Bytes meta) {
  CHECK_EQ(meta.size(), std::size_t{header.meta_bytes});
  if (crc32c(meta) == header.meta_crc) return {};
  return fail(Code::kProtocol, "checksum of a frame's meta does not match");
}

}  // namespace cairn::net
