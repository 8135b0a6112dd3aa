// What two ends of a connection say before the first frame: pure messages and proofs.
//
//   connector                         acceptor
//   Hello(nonce, cluster)  ------->
//                          <-------   Hello(nonce, cluster)      names differ: both end,
//                          kWrongCluster
//   Proof                  ------->                              by the key, over both nonces
//                          <-------   Verdict, Proof             no Proof if the verdict refuses
//   Verdict                ------->                              frames may follow at once
//
// The acceptor proves itself last, so that nobody without the key gets bytes made with it from a
// server. The role is part of what is signed: a proof cannot be sent back to its maker. Without a
// password the key is empty on both sides and the proofs are public; then only the names are really
// compared. The handshake proves who is there; it does not encrypt or sign what follows.
//
// Limits:   all sizes are fixed but the cluster name's (kClusterNameBytesMax).
// Errors:   kProtocol.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/net/channel.h"

namespace cairn::net {

enum class Role : std::uint8_t { kConnector = 1, kAcceptor = 2 };

using Nonce = std::array<std::byte, 32>;
using Proof = std::array<std::byte, 32>;

inline constexpr std::size_t kClusterNameBytesMax = 255;
inline constexpr std::size_t kHelloHeadBytes =
    40;  // magic 4, version 1, role 1, name length 2, nonce 32
inline constexpr std::size_t kProofMessageBytes = 36;   // magic 4, proof 32
inline constexpr std::size_t kVerdictMessageBytes = 8;  // magic 4, code 4

struct Hello {
  Role role = Role::kConnector;
  Nonce nonce{};
  std::string cluster;  // at most kClusterNameBytesMax
};

std::string encode_hello(const Hello& hello);
// The head says how long the name after it is.
struct HelloHead {
  Role role = Role::kConnector;
  Nonce nonce{};
  std::uint16_t name_bytes = 0;
};
Result<HelloHead> decode_hello_head(Bytes bytes);

std::string encode_proof(const Proof& proof);
Result<Proof> decode_proof(Bytes bytes);

// Code 0 accepts. Only codes a handshake may end with decode: others are kProtocol.
std::string encode_verdict(std::uint32_t code);
Result<std::uint32_t> decode_verdict(Bytes bytes);

// HMAC-SHA256(key, "cairn handshake 1" | role | nonce of connector | nonce of acceptor | cluster).
Proof make_proof(const Credentials& credentials, Role prover, const Nonce& connector,
                 const Nonce& acceptor);
// In constant time.
bool same_proof(const Proof& a, const Proof& b);
// Spreads 32 bytes of a generator's output, so that its state cannot be computed from nonces.
Nonce make_nonce(const std::array<std::uint64_t, 4>& random);

}  // namespace cairn::net
