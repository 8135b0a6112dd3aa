#include "common/net/authenticate.h"

namespace cairn::net {
namespace {

Task<Status> read_exact(Stream* stream, MutableBytes into) {
  while (!into.empty()) {
    const Result<std::size_t> got = co_await stream->read_some(into);
    if (!got.has_value()) co_return fail(got.error());
    if (*got == 0) co_return fail(Code::kConnectionLost, "the peer left during the handshake");
    into = into.subspan(*got);
  }
  co_return Status{};
}

Task<Status> write_text(Stream* stream, std::string text) {
  std::vector<Bytes> parts(1, as_bytes(text));
  co_return co_await stream->write_all(std::move(parts));
}

Task<Result<Hello>> read_hello(Stream* stream, Role expected) {
  std::array<std::byte, kHelloHeadBytes> bytes;
  CO_TRY_VOID(co_await read_exact(stream, bytes));
  CO_TRY(const HelloHead head, decode_hello_head(bytes));
  if (head.role != expected) co_return fail(Code::kProtocol, "both ends play the same role");
  Hello hello{head.role, head.nonce, std::string(head.name_bytes, '\0')};
  MutableBytes name = std::as_writable_bytes(std::span(hello.cluster));
  CO_TRY_VOID(co_await read_exact(stream, name));
  co_return hello;
}

Task<Result<Proof>> read_proof(Stream* stream) {
  std::array<std::byte, kProofMessageBytes> bytes;
  CO_TRY_VOID(co_await read_exact(stream, bytes));
  co_return decode_proof(bytes);
}

Task<Status> read_verdict(Stream* stream) {
  std::array<std::byte, kVerdictMessageBytes> bytes;
  CO_TRY_VOID(co_await read_exact(stream, bytes));
  CO_TRY(const std::uint32_t code, decode_verdict(bytes));
  if (code == 0) co_return Status{};
  co_return fail(static_cast<Code>(code), stream->peer() + " refuses our key");
}

std::unexpected<Error> wrong_key(const Stream& stream) {
  return fail(Code::kNotAuthenticated, stream.peer() + " does not have the key of this cluster");
}

struct Meeting {
  Stream* stream;
  const Credentials* credentials;
  Nonce connector;
  Nonce acceptor;

  Proof proof(Role prover) const { return make_proof(*credentials, prover, connector, acceptor); }
};

Task<Status> connector_proofs(const Meeting* meeting) {
  Stream* const stream = meeting->stream;
  std::string mine = encode_proof(meeting->proof(Role::kConnector));
  CO_TRY_VOID(co_await write_text(stream, std::move(mine)));
  CO_TRY_VOID(co_await read_verdict(stream));
  CO_TRY(const Proof theirs, co_await read_proof(stream));
  const bool good = same_proof(theirs, meeting->proof(Role::kAcceptor));
  std::string verdict =
      encode_verdict(good ? 0 : static_cast<std::uint32_t>(Code::kNotAuthenticated));
  CO_TRY_VOID(co_await write_text(stream, std::move(verdict)));
  if (!good) co_return wrong_key(*stream);
  co_return Status{};
}

Task<Status> acceptor_proofs(const Meeting* meeting) {
  Stream* const stream = meeting->stream;
  CO_TRY(const Proof theirs, co_await read_proof(stream));
  const bool good = same_proof(theirs, meeting->proof(Role::kConnector));
  std::string answer =
      encode_verdict(good ? 0 : static_cast<std::uint32_t>(Code::kNotAuthenticated));
  if (good) answer += encode_proof(meeting->proof(Role::kAcceptor));
  CO_TRY_VOID(co_await write_text(stream, std::move(answer)));
  if (!good) co_return wrong_key(*stream);
  co_return co_await read_verdict(stream);
}

Task<Status> meet(Stream* stream, const Credentials* credentials, Role role, Nonce nonce) {
  const bool connecting = role == Role::kConnector;
  Hello mine{role, nonce, credentials->cluster};
  std::string hello = encode_hello(mine);
  if (connecting) {
    CO_TRY_VOID(co_await write_text(stream, std::move(hello)));
  }
  const Role other = connecting ? Role::kAcceptor : Role::kConnector;
  CO_TRY(const Hello theirs, co_await read_hello(stream, other));
  if (!connecting) {
    CO_TRY_VOID(co_await write_text(stream, std::move(hello)));
  }
  if (theirs.cluster != mine.cluster) {
    co_return fail(Code::kWrongCluster, stream->peer() + " belongs to cluster \"" + theirs.cluster +
                                            "\", not to \"" + mine.cluster + "\"");
  }
  Meeting meeting{stream, credentials, connecting ? mine.nonce : theirs.nonce,
                  connecting ? theirs.nonce : mine.nonce};
  if (connecting) co_return co_await connector_proofs(&meeting);
  co_return co_await acceptor_proofs(&meeting);
}

}  // namespace

Task<Status> authenticate(runtime::Runtime& runtime, Stream& stream, Credentials credentials,
                          Role role, Deadline deadline) {
  if (credentials.cluster.size() > kClusterNameBytesMax) {
    co_return fail(Code::kInvalidArgument, "the cluster name is too long");
  }
  const std::array<std::uint64_t, 4> random{runtime.random(), runtime.random(), runtime.random(),
                                            runtime.random()};
  bool late = false;
  const runtime::TimerId timer = runtime.schedule(deadline, [&late, &stream] {
    late = true;
    stream.close();
  });
  const Nonce nonce = make_nonce(random);
  Status outcome = co_await meet(&stream, &credentials, role, nonce);
  if (late) co_return fail(Code::kTimeout, "no handshake with " + stream.peer() + " in time");
  runtime.cancel(timer);
  co_return outcome;
}

}  // namespace cairn::net
