#include "common/net/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace cairn::net {
namespace {

constexpr std::uint32_t kHelloMagic = 0x484e5243;    // "CRNH"
constexpr std::uint32_t kProofMagic = 0x504e5243;    // "CRNP"
constexpr std::uint32_t kVerdictMagic = 0x564e5243;  // "CRNV"
constexpr std::uint8_t kHandshakeVersion = 1;
constexpr std::string_view kContext = "cairn handshake 1";

std::byte* raw(std::string& text) { return reinterpret_cast<std::byte*>(text.data()); }
const unsigned char* octets(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* octets(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

}  // namespace

std::string encode_hello(const Hello& hello) {
  CHECK_LE(hello.cluster.size(), kClusterNameBytesMax);
  std::string out(kHelloHeadBytes, '\0');
  store_le(raw(out), kHelloMagic);
  store_le(raw(out) + 4, kHandshakeVersion);
  store_le(raw(out) + 5, hello.role);
  store_le(raw(out) + 6, static_cast<std::uint16_t>(hello.cluster.size()));
  std::memcpy(out.data() + 8, hello.nonce.data(), hello.nonce.size());
  return out + hello.cluster;
}

Result<HelloHead> decode_hello_head(Bytes bytes) {
  if (bytes.size() != kHelloHeadBytes || load_le<std::uint32_t>(bytes.data()) != kHelloMagic) {
    return fail(Code::kProtocol, "the peer does not speak the Cairn handshake");
  }
  const auto version = load_le<std::uint8_t>(bytes.data() + 4);
  if (version != kHandshakeVersion) {
    return fail(Code::kProtocol, "handshake " + std::to_string(version) + " is not known here");
  }
  const auto role = load_le<std::uint8_t>(bytes.data() + 5);
  if (role != 1 && role != 2) return fail(Code::kProtocol, "handshake with a bad role");
  HelloHead head;
  head.role = static_cast<Role>(role);
  head.name_bytes = load_le<std::uint16_t>(bytes.data() + 6);
  if (head.name_bytes > kClusterNameBytesMax) {
    return fail(Code::kProtocol, "handshake with too long a cluster name");
  }
  std::memcpy(head.nonce.data(), bytes.data() + 8, head.nonce.size());
  return head;
}

std::string encode_proof(const Proof& proof) {
  std::string out(kProofMessageBytes, '\0');
  store_le(raw(out), kProofMagic);
  std::memcpy(out.data() + 4, proof.data(), proof.size());
  return out;
}

Result<Proof> decode_proof(Bytes bytes) {
  if (bytes.size() != kProofMessageBytes || load_le<std::uint32_t>(bytes.data()) != kProofMagic) {
    return fail(Code::kProtocol, "bad proof in the handshake");
  }
  Proof proof;
  std::memcpy(proof.data(), bytes.data() + 4, proof.size());
  return proof;
}

std::string encode_verdict(std::uint32_t code) {
  std::string out(kVerdictMessageBytes, '\0');
  store_le(raw(out), kVerdictMagic);
  store_le(raw(out) + 4, code);
  return out;
}

Result<std::uint32_t> decode_verdict(Bytes bytes) {
  if (bytes.size() != kVerdictMessageBytes ||
      load_le<std::uint32_t>(bytes.data()) != kVerdictMagic) {
    return fail(Code::kProtocol, "bad verdict in the handshake");
  }
  const auto code = load_le<std::uint32_t>(bytes.data() + 4);
  const bool legal = code == 0 || code == static_cast<std::uint32_t>(Code::kNotAuthenticated) ||
                     code == static_cast<std::uint32_t>(Code::kWrongCluster);
  if (!legal) return fail(Code::kProtocol, "bad verdict in the handshake");
  return code;
}

Proof make_proof(const Credentials& credentials, Role prover, const Nonce& connector,
                 const Nonce& acceptor) {
  std::string text(kContext);
  text.push_back(static_cast<char>(prover));
  text += as_text(connector);
  text += as_text(acceptor);
  text += credentials.cluster;
  Proof proof;
  unsigned length = 0;
  const unsigned char* const done =
      HMAC(EVP_sha256(), credentials.key.data(), static_cast<int>(credentials.key.size()),
           octets(as_bytes(text).data()), text.size(), octets(proof.data()), &length);
  CHECK(done != nullptr);
  CHECK_EQ(std::size_t{length}, proof.size());
  return proof;
}

bool same_proof(const Proof& a, const Proof& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Nonce make_nonce(const std::array<std::uint64_t, 4>& random) {
  Nonce nonce;
  unsigned length = 0;
  const int ok = EVP_Digest(random.data(), sizeof random, octets(nonce.data()), &length,
                            EVP_sha256(), nullptr);
  CHECK_EQ(ok, 1);
  CHECK_EQ(std::size_t{length}, nonce.size());
  return nonce;
}

}  // namespace cairn::net
