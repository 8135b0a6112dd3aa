#include "mds/state/names.h"

#include "common/base/limits.h"

namespace cairn::mds::state {
namespace {

// How many bytes at the start of `text` are one well-formed UTF-8 character; 0 when they are none
// (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t character_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  std::size_t size = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    size = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    size = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    size = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  if (size == 0 || text.size() < size || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < size; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return size;
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

}  // namespace

Status check_name(std::string_view name) {
  if (name.empty() || name == "." || name == "..") {
    return fail(Code::kInvalidName, "a name may not be empty, '.' or '..'");
  }
  if (name.size() > limits::kNameBytesMax) {
    return fail(Code::kNameTooLong, "a name has at most " + std::to_string(limits::kNameBytesMax) +
                                        " bytes, not " + std::to_string(name.size()));
  }
  if (has_nul(name) || name.find('/') != std::string_view::npos) {
    return fail(Code::kInvalidName, "a name may not contain '/' or NUL");
  }
  return {};
}

Status check_target(std::string_view target) {
  if (target.empty()) return fail(Code::kNotFound, "the target of a symlink may not be empty");
  if (target.size() > limits::kSymlinkBytesMax) {
    return fail(Code::kNameTooLong, "the target of a symlink has at most " +
                                        std::to_string(limits::kSymlinkBytesMax) + " bytes");
  }
  if (has_nul(target)) {
    return fail(Code::kInvalidArgument, "the target of a symlink may not contain NUL");
  }
  return {};
}

Status check_xattr_name(std::string_view name) {
  if (name.empty()) return fail(Code::kInvalidArgument, "the name of an attribute is empty");
  if (name.size() > limits::kXattrNameBytesMax) {
    return fail(Code::kRangeTooSmall, "the name of an attribute has at most " +
                                          std::to_string(limits::kXattrNameBytesMax) + " bytes");
  }
  if (has_nul(name)) {
    return fail(Code::kInvalidArgument, "the name of an attribute may not contain NUL");
  }
  return {};
}

Status check_text(std::string_view field, std::string_view text) {
  const auto refuse = [&](const char* why) {
    return fail(Code::kInvalidArgument, std::string(field) + " " + why);
  };
  if (text.size() > kTextBytesMax) return refuse("is longer than 4096 bytes");
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    if (size == 0) return refuse("is not UTF-8");
    text.remove_prefix(size);
  }
  return {};
}

std::string clean_text(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    const std::size_t taken = size == 0 ? 1 : size;
    if (clean.size() + taken > kTextBytesMax) break;
    if (size == 0) {
      clean.push_back('?');
    } else {
      clean.append(text.substr(0, size));
    }
    text.remove_prefix(taken);
  }
  return clean;
}

}  // namespace cairn::mds::state
