// Proof of the cluster's key in each control-plane call: the metadata
//
//   cairn-auth: v1 <cluster> <unix ms> <nonce, 32 hex digits> <HMAC, 64 hex digits>
//   HMAC-SHA256(key, method "|" cluster "|" unix ms "|" nonce "|" SHA-256(request))
//
// Promises: a call is accepted once: its time must be within 300 s of the server's clock, and
//           nonces of that window are remembered. When more than kNoncesMax calls came in the
//           window, the oldest are forgotten and calls as old as those refused: never forgotten and
//           accepted again.
// Limits:   nonces are per server process: within the window, a call that somebody recorded can be
//           repeated to another server, or after a restart. Mutations that must not happen twice
//           carry their own identity. A stream (stream.h) proves itself once, its hello being the
//           request; its messages are not signed. The server does not prove itself to the caller,
//           nothing is encrypted. Pure: time and randomness are arguments. AuthChecker: one thread
//           at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>

#include "common/base/result.h"
#include "common/net/channel.h"

namespace cairn::rpc {

inline constexpr const char* kAuthKey = "cairn-auth";
inline constexpr std::int64_t kAuthWindowMs = 300'000;
inline constexpr std::size_t kNoncesMax = 500'000;

std::string make_auth(const net::Credentials& credentials, std::string_view method,
                      std::string_view request, std::int64_t unix_ms,
                      const std::array<std::uint64_t, 2>& nonce);

class AuthChecker {
 public:
  explicit AuthChecker(net::Credentials credentials, std::size_t nonces_max = kNoncesMax)
      : credentials_(std::move(credentials)), nonces_max_(nonces_max) {}

  // Errors: kWrongCluster, kNotAuthenticated. With an empty key only the cluster name is compared.
  Status check(std::string_view auth, std::string_view method, std::string_view request,
               std::int64_t now_ms);

 private:
  Status remember(std::uint64_t nonce, std::int64_t unix_ms, std::int64_t now_ms);

  net::Credentials credentials_;
  std::size_t nonces_max_;
  std::map<std::int64_t, std::unordered_set<std::uint64_t>>
      nonces_;  // by second of the caller's clock
  std::size_t count_ = 0;
  std::int64_t forgotten_until_ = INT64_MIN;  // calls of this second and before are refused
};

}  // namespace cairn::rpc
