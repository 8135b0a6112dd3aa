// Checks of the byte strings of a command: names of the namespace, text fields, xattr names.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"

namespace cairn::mds::state {

// 1 to 255 bytes, not "." or "..", without '/' and NUL.
// Errors:   kInvalidName, kNameTooLong.
Status check_name(std::string_view name);
// The target of a symlink.
// Errors:   kNotFound (empty), kNameTooLong, kInvalidArgument (NUL).
Status check_target(std::string_view target);
// Errors: kInvalidArgument (empty, NUL), kRangeTooSmall (too long; ERANGE as Linux has it).
Status check_xattr_name(std::string_view name);
// Text for people: UTF-8 (else a stored row could not be read again) and at most kTextBytesMax.
// Errors: kInvalidArgument, naming `field`.
inline constexpr std::size_t kTextBytesMax = 4096;
Status check_text(std::string_view field, std::string_view text);
// The same by force: cut at kTextBytesMax, bytes that are not UTF-8 become '?'.
std::string clean_text(std::string_view text);

}  // namespace cairn::mds::state
