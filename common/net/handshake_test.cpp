#include "common/net/handshake.h"

#include <gtest/gtest.h>

#include "common/base/prng.h"
#include "common/net/authenticate.h"
#include "common/net/mem_network.h"
#include "common/net/test_loop.h"
#include "common/runtime/task_group.h"

namespace cairn::net {
namespace {

Nonce nonce_of(std::uint64_t seed) { return make_nonce({seed, 2, 3, 4}); }

TEST(Handshake, MessagesSurviveARoundTrip) {
  const std::string hello = encode_hello({Role::kAcceptor, nonce_of(1), "stor1"});
  ASSERT_EQ(hello.size(), kHelloHeadBytes + 5);
  const auto head = decode_hello_head(as_bytes(hello).first(kHelloHeadBytes));
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->role, Role::kAcceptor);
  EXPECT_EQ(head->nonce, nonce_of(1));
  EXPECT_EQ(head->name_bytes, 5);
  const Proof proof = make_proof({"stor1", "key"}, Role::kConnector, nonce_of(1), nonce_of(2));
  EXPECT_EQ(decode_proof(as_bytes(encode_proof(proof))).value(), proof);
  EXPECT_EQ(decode_verdict(as_bytes(encode_verdict(304))).value(), 304U);
}

TEST(Handshake, ProofDependsOnEverything) {
  const Proof proof = make_proof({"stor1", "key"}, Role::kConnector, nonce_of(1), nonce_of(2));
  EXPECT_TRUE(
      same_proof(proof, make_proof({"stor1", "key"}, Role::kConnector, nonce_of(1), nonce_of(2))));
  EXPECT_FALSE(
      same_proof(proof, make_proof({"stor2", "key"}, Role::kConnector, nonce_of(1), nonce_of(2))));
  EXPECT_FALSE(
      same_proof(proof, make_proof({"stor1", "kez"}, Role::kConnector, nonce_of(1), nonce_of(2))));
  EXPECT_FALSE(
      same_proof(proof, make_proof({"stor1", "key"}, Role::kAcceptor, nonce_of(1), nonce_of(2))));
  EXPECT_FALSE(
      same_proof(proof, make_proof({"stor1", "key"}, Role::kConnector, nonce_of(2), nonce_of(1))));
  EXPECT_FALSE(
      same_proof(proof, make_proof({"stor1", "key"}, Role::kConnector, nonce_of(1), nonce_of(3))));
}

// Known answer, computed by an independent HMAC (python3 hmac): a change would lock out old peers.
TEST(Handshake, ProofIsTheDocumentedHmac) {
  Nonce a{};
  Nonce b{};
  b.fill(std::byte{1});
  const Proof proof = make_proof({"stor1", "key"}, Role::kConnector, a, b);
  const unsigned char expected[] = {0x56, 0x68, 0x7c, 0xc1, 0x1d, 0x72, 0x14, 0x09,
                                    0x2b, 0x94, 0xab, 0xe2, 0x68, 0x76, 0xc4, 0x22,
                                    0xe2, 0xb1, 0xf6, 0x6a, 0x8f, 0x0a, 0x5b, 0x32,
                                    0x15, 0x00, 0xdc, 0xf9, 0xf9, 0x53, 0x8c, 0x62};
  EXPECT_EQ(std::memcmp(proof.data(), expected, 32), 0);
}

TEST(Handshake, DecodersSurviveRandomBytes) {
  Prng random(3);
  for (int i = 0; i < 100'000; ++i) {
    std::string text(random.below(50), '\0');
    for (char& c : text) c = static_cast<char>(random.next());
    if (random.chance(700)) text.replace(0, std::min<std::size_t>(text.size(), 4), "CRNH");
    const auto head = decode_hello_head(as_bytes(text));
    if (head.has_value()) {
      EXPECT_LE(head->name_bytes, kClusterNameBytesMax);
    }
    std::ignore = decode_proof(as_bytes(text)).has_value();
    const auto verdict = decode_verdict(as_bytes(text));
    if (verdict.has_value()) {
      EXPECT_TRUE(*verdict == 0 || *verdict == 304 || *verdict == 305);
    }
  }
}

struct Ends {
  Status connector;
  Status acceptor;
};

Task<void> authenticate_into(runtime::Runtime* loop, Stream* stream, Credentials credentials,
                             Role role, Status* outcome) {
  const Deadline deadline = loop->now() + 200ms;
  *outcome = co_await authenticate(*loop, *stream, std::move(credentials), role, deadline);
  if (!outcome->has_value()) stream->close();
}

struct Pair {
  std::unique_ptr<Stream> connector;
  std::unique_ptr<Stream> acceptor;
};

Task<Result<Pair>> make_pair_of_streams(MemNetwork* network, runtime::Runtime* loop) {
  Pair pair;
  auto listener = network->listen(
      Address{"10.0.0.1", 1}, [&pair](std::unique_ptr<Stream> s) { pair.acceptor = std::move(s); });
  Address to{"10.0.0.1", 1};
  auto stream = co_await network->connect(std::move(to), loop->now() + 1s);
  pair.connector = std::move(*stream);
  co_return pair;
}

Task<void> meet(runtime::Runtime* loop, Credentials a, Credentials b, Ends* ends) {
  MemNetwork network(*loop);
  Result<Pair> pair = co_await make_pair_of_streams(&network, loop);
  runtime::TaskGroup group(*loop);
  group.spawn(
      authenticate_into(loop, pair->connector.get(), a, Role::kConnector, &ends->connector));
  group.spawn(authenticate_into(loop, pair->acceptor.get(), b, Role::kAcceptor, &ends->acceptor));
  co_await group.join();
}

Ends meeting_of(Credentials a, Credentials b) {
  Ends ends;
  run_on_loop([&](runtime::AsioRuntime& loop) { return meet(&loop, a, b, &ends); });
  return ends;
}

TEST(Authenticate, SameClusterAndKeyAgree) {
  for (const char* key : {"", "secret"}) {
    const Ends ends = meeting_of({"stor1", key}, {"stor1", key});
    EXPECT_TRUE(ends.connector.has_value());
    EXPECT_TRUE(ends.acceptor.has_value());
  }
}

TEST(Authenticate, BothSidesLearnOfAWrongCluster) {
  const Ends ends = meeting_of({"stor1", "secret"}, {"stor2", "secret"});
  EXPECT_EQ(ends.connector.error().code(), Code::kWrongCluster);
  EXPECT_EQ(ends.acceptor.error().code(), Code::kWrongCluster);
}

TEST(Authenticate, BothSidesLearnOfAWrongKey) {
  for (const auto& [a, b] : {std::pair("x", "y"), std::pair("", "y"), std::pair("x", "")}) {
    const Ends ends = meeting_of({"stor1", a}, {"stor1", b});
    EXPECT_EQ(ends.connector.error().code(), Code::kNotAuthenticated);
    EXPECT_EQ(ends.acceptor.error().code(), Code::kNotAuthenticated);
  }
}

// A server that has the name but not the key: echoes whatever it gets.
Task<void> echo(Stream* stream) {
  std::array<std::byte, 256> bytes;
  for (;;) {
    const Result<std::size_t> got = co_await stream->read_some(bytes);
    if (!got.has_value() || *got == 0) co_return;
    std::vector<Bytes> parts(1, Bytes(bytes).first(*got));
    const Status sent = co_await stream->write_all(std::move(parts));
    if (!sent.has_value()) co_return;
  }
}

Task<void> meet_echo(runtime::Runtime* loop, Role role, Status* outcome) {
  MemNetwork network(*loop);
  Result<Pair> pair = co_await make_pair_of_streams(&network, loop);
  runtime::TaskGroup group(*loop);
  Credentials credentials{"stor1", "secret"};
  group.spawn(echo(pair->acceptor.get()));
  group.spawn(authenticate_into(loop, pair->connector.get(), credentials, role, outcome));
  co_await group.join();
}

TEST(Authenticate, OwnMessagesSentBackDoNotPass) {
  Status outcome;
  run_on_loop([&](runtime::AsioRuntime& l) { return meet_echo(&l, Role::kConnector, &outcome); });
  EXPECT_EQ(outcome.error().code(), Code::kProtocol);
}

TEST(Authenticate, SilentPeerIsATimeout) {
  Status outcome;
  // An acceptor waits for the connector's hello; the echo has nothing to say.
  run_on_loop([&](runtime::AsioRuntime& l) { return meet_echo(&l, Role::kAcceptor, &outcome); });
  EXPECT_EQ(outcome.error().code(), Code::kTimeout);
}

Task<void> meet_garbage(runtime::Runtime* loop, std::uint64_t seed, Status* outcome) {
  MemNetwork network(*loop);
  Result<Pair> pair = co_await make_pair_of_streams(&network, loop);
  runtime::TaskGroup group(*loop);
  Prng random(seed);
  std::string garbage(random.between(1, 300), 'C');
  for (char& c : garbage) c = static_cast<char>(random.next());
  if (random.chance(800)) garbage.replace(0, 4, "CRNH");
  if (garbage.size() > 6) garbage[4] = 1, garbage[5] = 1;
  std::vector<Bytes> parts(1, as_bytes(garbage));
  const Status sent = co_await pair->connector->write_all(std::move(parts));
  EXPECT_TRUE(sent.has_value());
  pair->connector->close();
  Credentials credentials{"stor1", ""};
  group.spawn(authenticate_into(loop, pair->acceptor.get(), credentials, Role::kAcceptor, outcome));
  co_await group.join();
}

TEST(Authenticate, GarbageNeverPasses) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Status outcome;
    run_on_loop([&](runtime::AsioRuntime& l) { return meet_garbage(&l, seed, &outcome); });
    EXPECT_FALSE(outcome.has_value()) << seed;
  }
}

}  // namespace
}  // namespace cairn::net
