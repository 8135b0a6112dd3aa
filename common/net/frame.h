// The header of a data-plane frame: 48 bytes, little-endian, then `meta_bytes` of a protobuf
// message and `body_bytes` of bulk bytes. Pure. docs/formats/frame.md has a worked example.
//
// Promises: decode refuses (kProtocol) wrong magic, unknown version or kind, a bad header checksum,
//           non-zero reserved bytes and lengths beyond limits.h: before anybody allocates for them.
//           What decodes encodes to the same bytes. The checksum of the meta rides in the header: a
//           flipped bit in a chunk number or a range must not become a write to the wrong place.
//           Bodies carry one CRC32C per block in their meta.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "common/base/buffer.h"
#include "common/base/result.h"

namespace cairn::net {

enum class FrameKind : std::uint8_t { kRequest = 1, kReply = 2, kOneway = 3 };

struct FrameHeader {
  FrameKind kind = FrameKind::kRequest;
  std::uint16_t op = 0;           // a reply repeats the op of its request
  std::uint64_t request_id = 0;   // 0 for kOneway, else from 1 in each direction
  std::uint32_t deadline_ms = 0;  // kRequest: time the caller will still wait; 0: unknown
  std::uint32_t error_code = 0;   // kReply: Code, 0 for success; then the meta is pb::ErrorDetail
  std::uint32_t meta_bytes = 0;
  std::uint32_t body_bytes = 0;
  std::uint32_t meta_crc = 0;  // CRC32C of the meta

  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
  std::string to_string() const;
};

inline constexpr std::size_t kFrameHeaderBytes = 48;
inline constexpr std::uint32_t kFrameMagic = 0x464e5243;  // "CRNF"
inline constexpr std::uint8_t kFrameVersion = 1;

// `header` is valid by the rules above.
void encode_frame_header(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> out);
Result<FrameHeader> decode_frame_header(std::span<const std::byte, kFrameHeaderBytes> bytes);
// kProtocol when the meta does not match the header's checksum.
Status check_frame_meta(const FrameHeader& header, Bytes meta);

}  // namespace cairn::net
