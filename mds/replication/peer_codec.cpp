#include "mds/replication/peer_codec.h"

#include <optional>

#include "common/base/check.h"

namespace cairn::mds::replication {
namespace {

using paxos::Ballot;
using paxos::Value;
using paxos::ValueKind;

// ---- out ----

void put(pb::PaxosBallot* to, const Ballot& ballot) {
  to->set_round(ballot.round);
  to->set_node(ballot.node.raw());
}
void put(pb::PaxosValue* to, const Value& value) {
  to->set_kind(static_cast<std::uint32_t>(value.kind));
  CHECK(value.bytes != nullptr);
  to->set_bytes(*value.bytes);
}
// An invalid ballot is left out.
template <class Message>
void put_yielded(Message* to, const Ballot& ballot) {
  if (ballot.valid()) put(to->mutable_yielded(), ballot);
}

void put(pb::PeerEnvelope& to, const paxos::PreVote& from) {
  pb::PaxosPreVote* const m = to.mutable_pre_vote();
  put(m->mutable_ballot(), from.ballot);
  m->set_chosen(from.chosen.raw());
  put_yielded(m, from.yielded);
}
void put(pb::PeerEnvelope& to, const paxos::PreVoteReply& from) {
  pb::PaxosPreVoteReply* const m = to.mutable_pre_vote_reply();
  put(m->mutable_ballot(), from.ballot);
  m->set_granted(from.granted);
  if (from.promised.valid()) put(m->mutable_promised(), from.promised);
  m->set_chosen(from.chosen.raw());
}
void put(pb::PeerEnvelope& to, const paxos::Prepare& from) {
  pb::PaxosPrepare* const m = to.mutable_prepare();
  put(m->mutable_ballot(), from.ballot);
  m->set_chosen(from.chosen.raw());
  put_yielded(m, from.yielded);
}
void put(pb::PeerEnvelope& to, const paxos::Promise& from) {
  pb::PaxosPromise* const m = to.mutable_promise();
  put(m->mutable_ballot(), from.ballot);
  m->set_chosen(from.chosen.raw());
  m->mutable_accepted()->Reserve(static_cast<int>(from.accepted.size()));
  for (const paxos::Accepted& accepted : from.accepted) {
    pb::PaxosAcceptedValue* const one = m->add_accepted();
    one->set_slot(accepted.slot.raw());
    if (accepted.ballot.valid()) put(one->mutable_ballot(), accepted.ballot);
    put(one->mutable_value(), accepted.value);
  }
}
void put(pb::PeerEnvelope& to, const paxos::Accept& from) {
  pb::PaxosAccept* const m = to.mutable_accept();
  put(m->mutable_ballot(), from.ballot);
  m->set_first(from.first.raw());
  m->mutable_values()->Reserve(static_cast<int>(from.values.size()));
  for (const Value& value : from.values) put(m->add_values(), value);
  m->set_chosen(from.chosen.raw());
}
void put(pb::PeerEnvelope& to, const paxos::AcceptedReply& from) {
  pb::PaxosAcceptedReply* const m = to.mutable_accepted();
  put(m->mutable_ballot(), from.ballot);
  m->set_first(from.first.raw());
  m->set_last(from.last.raw());
  m->set_chosen(from.chosen.raw());
}
void put(pb::PeerEnvelope& to, const paxos::Refuse& from) {
  pb::PaxosRefuse* const m = to.mutable_refuse();
  put(m->mutable_ballot(), from.ballot);
  if (from.promised.valid()) put(m->mutable_promised(), from.promised);
  m->set_chosen(from.chosen.raw());
}
void put(pb::PeerEnvelope& to, const paxos::Heartbeat& from) {
  pb::PaxosHeartbeat* const m = to.mutable_heartbeat();
  put(m->mutable_ballot(), from.ballot);
  m->set_round(from.round);
  m->set_chosen(from.chosen.raw());
}
void put(pb::PeerEnvelope& to, const paxos::HeartbeatReply& from) {
  pb::PaxosHeartbeatReply* const m = to.mutable_heartbeat_reply();
  put(m->mutable_ballot(), from.ballot);
  m->set_round(from.round);
  m->set_chosen(from.chosen.raw());
  m->set_accepted(from.accepted.raw());
}
void put(pb::PeerEnvelope& to, const paxos::Fetch& from) {
  to.mutable_fetch()->set_from(from.from.raw());
}
void put(pb::PeerEnvelope& to, const paxos::Learn& from) {
  pb::PaxosLearn* const m = to.mutable_learn();
  m->set_first(from.first.raw());
  m->mutable_values()->Reserve(static_cast<int>(from.values.size()));
  for (const Value& value : from.values) put(m->add_values(), value);
  m->set_chosen(from.chosen.raw());
}
void put(pb::PeerEnvelope& to, const paxos::SnapshotNeeded& from) {
  to.mutable_snapshot_needed()->set_applied(from.applied.raw());
}
void put(pb::PeerEnvelope& to, const paxos::Yield& from) {
  put(to.mutable_yield()->mutable_ballot(), from.ballot);
}
void put(pb::PeerEnvelope& to, const paxos::Recover& from) {
  to.mutable_recover()->set_nonce(from.nonce);
}
void put(pb::PeerEnvelope& to, const paxos::RecoverReply& from) {
  pb::PaxosRecoverReply* const m = to.mutable_recover_reply();
  m->set_nonce(from.nonce);
  put(m->mutable_ballot(), from.ballot);
  m->set_upto(from.upto.raw());
}

// ---- in: a Reader notes the first thing that cannot be ----

class Reader {
 public:
  // Both numbers, and a node that can be an MDS.
  Ballot ballot(const pb::PaxosBallot& from) {
    const Ballot to = raw_ballot(from);
    require(to.valid() && is_mds(to.node), "no ballot");
    return to;
  }
  // As above, or none at all.
  Ballot optional_ballot(const pb::PaxosBallot& from) {
    const Ballot to = raw_ballot(from);
    require(to == Ballot{} || (to.valid() && is_mds(to.node)), "half a ballot");
    return to;
  }
  // May be 0: nothing yet.
  Slot count(std::uint64_t raw) {
    require(raw <= kSlotMax.raw(), "slot beyond the last");
    return Slot(raw);
  }
  Slot slot(std::uint64_t raw) {
    require(raw != 0, "no slot");
    return count(raw);
  }
  std::uint64_t number(std::uint64_t raw) {
    require(raw != 0, "no number");
    return raw;
  }
  // Takes the bytes out of `from`.
  Value value(pb::PaxosValue& from) {
    Value to;
    const std::uint32_t kind = from.kind();
    const bool known = kind >= static_cast<std::uint32_t>(ValueKind::kNoop) &&
                       kind <= static_cast<std::uint32_t>(ValueKind::kMembership);
    require(known, "unknown kind of value");
    if (known) to.kind = static_cast<ValueKind>(kind);
    require(to.kind != ValueKind::kNoop || from.bytes().empty(), "a noop with bytes");
    require(to.kind != ValueKind::kMembership || !from.bytes().empty(), "an empty membership");
    to.bytes = std::make_shared<const std::string>(std::move(*from.mutable_bytes()));
    return to;
  }
  // Of consecutive slots from `first` on; at least one.
  std::vector<Value> values(Slot first, google::protobuf::RepeatedPtrField<pb::PaxosValue>& from) {
    std::vector<Value> to;
    const auto size = static_cast<std::uint64_t>(from.size());
    require(size != 0, "no values");
    require(first.raw() + size - 1 <= kSlotMax.raw(), "slot beyond the last");
    if (!good()) return to;
    to.reserve(size);
    for (pb::PaxosValue& one : from) to.push_back(value(one));
    return to;
  }
  void require(bool condition, const char* otherwise) {
    if (!condition && what_ == nullptr) what_ = otherwise;
  }
  bool good() const { return what_ == nullptr; }
  const char* what() const { return what_; }

 private:
  static Ballot raw_ballot(const pb::PaxosBallot& from) {
    return Ballot{from.round(), NodeId::from_raw(from.node())};
  }
  static bool is_mds(NodeId node) { return node >= kFirstMdsId && node < kFirstCsId; }

  const char* what_ = nullptr;
};

paxos::Message read(Reader& r, pb::PaxosPreVote& m) {
  return paxos::PreVote{r.ballot(m.ballot()), r.count(m.chosen()), r.optional_ballot(m.yielded())};
}
paxos::Message read(Reader& r, pb::PaxosPreVoteReply& m) {
  return paxos::PreVoteReply{r.ballot(m.ballot()), m.granted(), r.optional_ballot(m.promised()),
                             r.count(m.chosen())};
}
paxos::Message read(Reader& r, pb::PaxosPrepare& m) {
  return paxos::Prepare{r.ballot(m.ballot()), r.count(m.chosen()), r.optional_ballot(m.yielded())};
}
paxos::Message read(Reader& r, pb::PaxosPromise& m) {
  paxos::Promise to{r.ballot(m.ballot()), r.count(m.chosen()), {}};
  to.accepted.reserve(static_cast<std::size_t>(m.accepted_size()));
  Slot before;
  for (pb::PaxosAcceptedValue& one : *m.mutable_accepted()) {
    const Slot slot = r.slot(one.slot());
    r.require(slot > before, "slots that do not ascend");
    before = slot;
    to.accepted.push_back({slot, r.optional_ballot(one.ballot()), r.value(*one.mutable_value())});
    if (!r.good()) break;
  }
  return to;
}
paxos::Message read(Reader& r, pb::PaxosAccept& m) {
  const Slot first = r.slot(m.first());
  return paxos::Accept{r.ballot(m.ballot()), first, r.values(first, *m.mutable_values()),
                       r.count(m.chosen())};
}
paxos::Message read(Reader& r, pb::PaxosAcceptedReply& m) {
  r.require(m.first() <= m.last(), "an empty range");
  return paxos::AcceptedReply{r.ballot(m.ballot()), r.slot(m.first()), r.slot(m.last()),
                              r.count(m.chosen())};
}
paxos::Message read(Reader& r, pb::PaxosRefuse& m) {
  return paxos::Refuse{r.ballot(m.ballot()), r.optional_ballot(m.promised()), r.count(m.chosen())};
}
paxos::Message read(Reader& r, pb::PaxosHeartbeat& m) {
  return paxos::Heartbeat{r.ballot(m.ballot()), r.number(m.round()), r.count(m.chosen())};
}
paxos::Message read(Reader& r, pb::PaxosHeartbeatReply& m) {
  return paxos::HeartbeatReply{r.ballot(m.ballot()), r.number(m.round()), r.count(m.chosen()),
                               r.count(m.accepted())};
}
paxos::Message read(Reader& r, pb::PaxosFetch& m) { return paxos::Fetch{r.slot(m.from())}; }
paxos::Message read(Reader& r, pb::PaxosLearn& m) {
  const Slot first = r.slot(m.first());
  return paxos::Learn{first, r.values(first, *m.mutable_values()), r.count(m.chosen())};
}
paxos::Message read(Reader& r, pb::PaxosSnapshotNeeded& m) {
  return paxos::SnapshotNeeded{r.slot(m.applied())};
}
paxos::Message read(Reader& r, pb::PaxosYield& m) { return paxos::Yield{r.ballot(m.ballot())}; }
paxos::Message read(Reader& r, pb::PaxosRecover& m) { return paxos::Recover{r.number(m.nonce())}; }
paxos::Message read(Reader& r, pb::PaxosRecoverReply& m) {
  return paxos::RecoverReply{r.number(m.nonce()), r.ballot(m.ballot()), r.count(m.upto())};
}

// Nothing for a body that this version does not know.
std::optional<paxos::Message> read_body(Reader& r, pb::PeerEnvelope& from) {
  using Body = pb::PeerEnvelope::BodyCase;
  switch (from.body_case()) {
    case Body::kPreVote:
      return read(r, *from.mutable_pre_vote());
    case Body::kPreVoteReply:
      return read(r, *from.mutable_pre_vote_reply());
    case Body::kPrepare:
      return read(r, *from.mutable_prepare());
    case Body::kPromise:
      return read(r, *from.mutable_promise());
    case Body::kAccept:
      return read(r, *from.mutable_accept());
    case Body::kAccepted:
      return read(r, *from.mutable_accepted());
    case Body::kRefuse:
      return read(r, *from.mutable_refuse());
    case Body::kHeartbeat:
      return read(r, *from.mutable_heartbeat());
    case Body::kHeartbeatReply:
      return read(r, *from.mutable_heartbeat_reply());
    case Body::kFetch:
      return read(r, *from.mutable_fetch());
    case Body::kLearn:
      return read(r, *from.mutable_learn());
    case Body::kSnapshotNeeded:
      return read(r, *from.mutable_snapshot_needed());
    case Body::kYield:
      return read(r, *from.mutable_yield());
    case Body::kRecover:
      return read(r, *from.mutable_recover());
    case Body::kRecoverReply:
      return read(r, *from.mutable_recover_reply());
    case Body::kReport:
    case Body::BODY_NOT_SET:
      break;
  }
  return std::nullopt;
}

}  // namespace

std::string encode_peer_message(const paxos::Message& message) {
  pb::PeerEnvelope envelope;
  std::visit([&envelope](const auto& one) { put(envelope, one); }, message);
  return envelope.SerializeAsString();
}

std::string encode_peer_report(const pb::PeerReport& report) {
  pb::PeerEnvelope envelope;
  *envelope.mutable_report() = report;
  return envelope.SerializeAsString();
}

Result<PeerMessage> decode_peer_message(std::string_view bytes) {
  pb::PeerEnvelope envelope;
  if (bytes.size() > std::size_t{INT32_MAX} ||
      !envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(Code::kProtocol, "undecodable message of an MDS");
  }
  if (envelope.has_report()) return PeerMessage(std::move(*envelope.mutable_report()));
  Reader reader;
  std::optional<paxos::Message> message = read_body(reader, envelope);
  if (!message.has_value()) return fail(Code::kProtocol, "message of an unknown kind of an MDS");
  if (!reader.good()) {
    return fail(Code::kProtocol, std::string("message of an MDS with ") + reader.what());
  }
  return PeerMessage(std::move(*message));
}

}  // namespace cairn::mds::replication
