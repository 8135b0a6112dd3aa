#include "common/net/frame_payload.h"

#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "proto/types.pb.h"

namespace cairn::net {
namespace {

constexpr std::size_t kErrorMessageBytesMax = 4096;

}  // namespace

bool fits_in_frame(const Payload& payload) {
  return payload.meta.size() <= limits::kFrameMetaBytesMax &&
         payload.body_size() <= limits::kFrameBodyBytesMax;
}

void describe_payload(const Payload& payload, FrameHeader& header) {
  CHECK(fits_in_frame(payload));
  header.meta_bytes = static_cast<std::uint32_t>(payload.meta.size());
  header.body_bytes = static_cast<std::uint32_t>(payload.body_size());
  header.meta_crc = crc32c(as_bytes(payload.meta));
}

std::string encode_error(const Error& error) {
  pb::ErrorDetail detail;
  detail.set_code(static_cast<std::uint32_t>(error.code()));
  detail.set_message(error.message().substr(0, kErrorMessageBytesMax));
  return detail.SerializeAsString();
}

Error decode_error(std::uint32_t code, const std::string& meta) {
  pb::ErrorDetail detail;
  std::string message = detail.ParseFromString(meta) ? detail.message() : "undecodable error";
  if (is_known_code(code)) return Error(static_cast<Code>(code), std::move(message));
  return Error(Code::kInternal, "error " + std::to_string(code) + " of a newer peer: " + message);
}

}  // namespace cairn::net
