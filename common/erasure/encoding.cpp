#include "common/erasure/encoding.h"

#include <charconv>
#include <optional>

#include "common/base/limits.h"

namespace cairn::erasure {
namespace {

struct Spelling {
  std::uint32_t first = 0;
  std::optional<std::uint32_t> second;
  std::optional<std::uint32_t> min;
};

// Reads digits at the start of `text`; nullopt when there are none or more than any rule allows.
std::optional<std::uint32_t> take_number(std::string_view& text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto digits = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || digits == 0 || digits > 4) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

// "A[+B][:C]".
std::optional<Spelling> take_spelling(std::string_view text) {
  Spelling spelling;
  const std::optional<std::uint32_t> first = take_number(text);
  if (!first) return std::nullopt;
  spelling.first = *first;
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    spelling.second = take_number(text);
    if (!spelling.second) return std::nullopt;
  }
  if (text.starts_with(':')) {
    text.remove_prefix(1);
    spelling.min = take_number(text);
    if (!spelling.min) return std::nullopt;
  }
  if (!text.empty()) return std::nullopt;
  return spelling;
}

std::uint32_t default_min(std::uint32_t data, std::uint32_t parity) {
  const std::uint32_t pieces = data + parity;
  if (data == 1) return pieces <= 2 ? 1 : pieces / 2 + 1;
  return parity >= 2 ? data + 1 : data;
}

std::string text_of(std::uint32_t number) { return std::to_string(number); }

Status check_replicas(std::uint32_t norm, std::uint32_t min) {
  if (norm < 1 || norm > limits::kReplicasMax) {
    return fail(Code::kInvalidArgument, "replicas=" + text_of(norm) +
                                            ": the number of replicas is 1 to " +
                                            text_of(limits::kReplicasMax) + ", for example 3:2");
  }
  if (min < 1 || min > norm) {
    return fail(Code::kInvalidArgument, "replicas=" + text_of(norm) + ":" + text_of(min) +
                                            ": the minimum is 1 to " + text_of(norm) +
                                            ", for example " + text_of(norm) + ":" +
                                            text_of(default_min(1, norm - 1)));
  }
  return {};
}

Status check_code(std::uint32_t data, std::uint32_t parity, std::uint32_t min) {
  const std::string code = "encoding=" + text_of(data) + "+" + text_of(parity);
  const auto refuse = [&](const std::string& why) {
    return fail(Code::kInvalidArgument, code + ": " + why);
  };
  if (data == 0) return refuse("there must be at least one data piece, for example 3+2");
  if (data > limits::kDataPiecesMax) {
    return refuse("at most " + text_of(limits::kDataPiecesMax) +
                  " data pieces are allowed, for example 17+3");
  }
  if (parity == 0) {
    return refuse(
        "several data pieces need parity; for no redundancy at all use 1+0 or replicas=1");
  }
  if (parity > limits::kParityPiecesMax) {
    return refuse("at most " + text_of(limits::kParityPiecesMax) +
                  " parity pieces are allowed, for example 17+4");
  }
  if (parity >= data) {
    return refuse("there must be fewer parity pieces than data pieces; use " + text_of(parity + 1) +
                  "+" + text_of(parity) + " or replicas=" + text_of(parity + 1));
  }
  if (min < data || min > data + parity) {
    return refuse("the minimum " + text_of(min) + " must be " + text_of(data) + " to " +
                  text_of(data + parity) + ", for example " + text_of(data) + "+" +
                  text_of(parity) + ":" + text_of(default_min(data, parity)));
  }
  return {};
}

}  // namespace

Result<Encoding> Encoding::make(std::uint32_t data, std::uint32_t parity, std::uint32_t min) {
  if (data == 1) {
    // norm would wrap for the largest parity; no such number is allowed anyway.
    const std::uint32_t norm = parity < UINT32_MAX ? parity + 1 : parity;
    TRY_VOID(check_replicas(norm, min));
  } else {
    TRY_VOID(check_code(data, parity, min));
  }
  Encoding encoding;
  encoding.data = static_cast<std::uint8_t>(data);
  encoding.parity = static_cast<std::uint8_t>(parity);
  encoding.min = static_cast<std::uint8_t>(min);
  return encoding;
}

Result<Encoding> Encoding::parse_code(std::string_view text) {
  const std::optional<Spelling> spelling = take_spelling(text);
  if (!spelling) {
    return fail(Code::kInvalidArgument, "encoding=" + std::string(text) +
                                            ": an encoding is M+N or M+N:min, for example 5+2");
  }
  if (!spelling->second) {
    return fail(Code::kInvalidArgument, "encoding=" + std::string(text) +
                                            ": an encoding is M+N, for example 5+2; replicas are "
                                            "set by replicas=" +
                                            std::string(text));
  }
  const std::uint32_t data = spelling->first;
  const std::uint32_t parity = *spelling->second;
  if (data == 1 && parity > 0) {
    return fail(Code::kInvalidArgument, "encoding=" + std::string(text) +
                                            ": one data piece with parity is the same as copies; "
                                            "use replicas=" +
                                            text_of(parity + 1));
  }
  return make(data, parity, spelling->min.value_or(default_min(data, parity)));
}

Result<Encoding> Encoding::parse_replicas(std::string_view text) {
  const std::optional<Spelling> spelling = take_spelling(text);
  if (!spelling) {
    return fail(Code::kInvalidArgument,
                "replicas=" + std::string(text) + ": replicas are N or N:min, for example 3:2");
  }
  if (spelling->second) {
    return fail(Code::kInvalidArgument,
                "replicas=" + std::string(text) +
                    ": that is an encoding; use encoding=" + std::string(text));
  }
  const std::uint32_t norm = spelling->first;
  if (norm == 0) return fail(check_replicas(0, 1).error());
  return make(1, norm - 1, spelling->min.value_or(default_min(1, norm - 1)));
}

std::string Encoding::to_string() const {
  const std::string need = ":" + text_of(min);
  if (is_replicas()) return text_of(pieces()) + need;
  return text_of(data) + "+" + text_of(parity) + need;
}

std::string Encoding::to_attribute() const {
  return (is_replicas() ? "replicas=" : "encoding=") + to_string();
}

}  // namespace cairn::erasure
