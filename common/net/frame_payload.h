// Pieces shared by the two halves of StreamChannel: sizes, descriptions and errors of frames. Pure.
#pragma once

#include <string>

#include "common/base/error.h"
#include "common/net/channel.h"
#include "common/net/frame.h"

namespace cairn::net {

bool fits_in_frame(const Payload& payload);
// Sets the lengths and the checksum of `header`. Requires fits_in_frame().
void describe_payload(const Payload& payload, FrameHeader& header);

// pb::ErrorDetail; a long message is cut. A code this version does not know becomes kInternal.
std::string encode_error(const Error& error);
Error decode_error(std::uint32_t code, const std::string& meta);

}  // namespace cairn::net
