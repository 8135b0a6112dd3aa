#include "common/rpc/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <charconv>

#include "common/base/check.h"

namespace cairn::rpc {
namespace {

using Digest = std::array<unsigned char, 32>;

const unsigned char* octets(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string to_hex(const unsigned char* bytes, std::size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(count * 2);
  for (std::size_t i = 0; i < count; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

// HMAC as hex, over the fields as they stand in the metadata.
std::string sign(const net::Credentials& credentials, std::string_view method, std::string_view ms,
                 std::string_view nonce, std::string_view request) {
  Digest digest;
  unsigned length = 0;
  CHECK_EQ(
      EVP_Digest(request.data(), request.size(), digest.data(), &length, EVP_sha256(), nullptr), 1);
  std::string text(method);
  for (const std::string_view part : {std::string_view(credentials.cluster), ms, nonce}) {
    text.push_back('|');
    text += part;
  }
  text.push_back('|');
  text.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  Digest mac;
  const unsigned char* const done =
      HMAC(EVP_sha256(), credentials.key.data(), static_cast<int>(credentials.key.size()),
           octets(text), text.size(), mac.data(), &length);
  CHECK(done != nullptr);
  return to_hex(mac.data(), mac.size());
}

struct Fields {
  std::string_view cluster, ms, nonce, mac;
};

// Exactly five fields with one space between them.
bool split(std::string_view auth, Fields& fields) {
  std::string_view parts[5];
  for (std::size_t i = 0; i < 5; ++i) {
    const std::size_t space = auth.find(' ');
    if ((space == std::string_view::npos) != (i == 4)) return false;
    parts[i] = auth.substr(0, space);
    if (parts[i].empty()) return false;
    if (i < 4) auth.remove_prefix(space + 1);
  }
  fields = {parts[1], parts[2], parts[3], parts[4]};
  return parts[0] == "v1" && fields.nonce.size() == 32 && fields.mac.size() == 64;
}

template <class T>
bool parse_number(std::string_view text, T& value, int base) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  return error == std::errc{} && stop == end;
}

std::int64_t second_of(std::int64_t ms) { return ms / 1000; }

std::unexpected<Error> refuse(std::string why) {
  return fail(Code::kNotAuthenticated, std::move(why));
}

}  // namespace

std::string make_auth(const net::Credentials& credentials, std::string_view method,
                      std::string_view request, std::int64_t unix_ms,
                      const std::array<std::uint64_t, 2>& nonce) {
  const std::string ms = std::to_string(unix_ms);
  const std::string hex =
      to_hex(reinterpret_cast<const unsigned char*>(nonce.data()), sizeof nonce);
  return "v1 " + credentials.cluster + " " + ms + " " + hex + " " +
         sign(credentials, method, ms, hex, request);
}

Status AuthChecker::check(std::string_view auth, std::string_view method, std::string_view request,
                          std::int64_t now_ms) {
  Fields fields;
  if (!split(auth, fields)) return refuse("no proof of the cluster's key in the call");
  if (fields.cluster != credentials_.cluster) {
    return fail(Code::kWrongCluster, "this is a server of cluster \"" + credentials_.cluster +
                                         "\", the call is for \"" + std::string(fields.cluster) +
                                         "\"");
  }
  if (credentials_.key.empty()) return {};

  const std::string mac = sign(credentials_, method, fields.ms, fields.nonce, request);
  if (CRYPTO_memcmp(mac.data(), fields.mac.data(), mac.size()) != 0) {
    return refuse("the call was not made with the key of this cluster");
  }
  std::int64_t unix_ms = 0;
  std::uint64_t nonce = 0;
  if (!parse_number(fields.ms, unix_ms, 10) ||
      !parse_number(fields.nonce.substr(0, 16), nonce, 16)) {
    return refuse("undecodable time or nonce");
  }
  if (unix_ms < now_ms - kAuthWindowMs || unix_ms > now_ms + kAuthWindowMs) {
    return refuse("the clocks of caller and server differ by " +
                  std::to_string((unix_ms - now_ms) / 1000) + " s, at most 300 s are allowed");
  }
  return remember(nonce, unix_ms, now_ms);
}

Status AuthChecker::remember(std::uint64_t nonce, std::int64_t unix_ms, std::int64_t now_ms) {
  const std::int64_t oldest = second_of(now_ms - kAuthWindowMs) - 1;
  while (!nonces_.empty() && (nonces_.begin()->first < oldest || count_ >= nonces_max_)) {
    forgotten_until_ = std::max(forgotten_until_, nonces_.begin()->first);
    count_ -= nonces_.begin()->second.size();
    nonces_.erase(nonces_.begin());
  }
  const std::int64_t second = second_of(unix_ms);
  if (second <= forgotten_until_) {
    return refuse("the call is too old for a server with so many calls; compare the clocks");
  }
  if (!nonces_[second].insert(nonce).second) return refuse("the call is a repetition");
  ++count_;
  return {};
}

}  // namespace cairn::rpc
