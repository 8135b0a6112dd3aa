#include "mds/replication/peer_codec.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "common/base/prng.h"

namespace cairn::mds::replication {
namespace {

using paxos::Ballot;
using paxos::Message;
using paxos::Value;
using paxos::ValueKind;

// ---- random messages of every kind ----

class Maker {
 public:
  explicit Maker(std::uint64_t seed) : prng_(seed) {}

  Message message(std::size_t kind) {
    switch (kind) {
      case 0:
        return paxos::PreVote{ballot(), slot(0), optional_ballot()};
      case 1:
        return paxos::PreVoteReply{ballot(), prng_.chance(500), optional_ballot(), slot(0)};
      case 2:
        return paxos::Prepare{ballot(), slot(0), optional_ballot()};
      case 3:
        return promise();
      case 4:
        return paxos::Accept{ballot(), slot(1), values(), slot(0)};
      case 5: {
        const Slot first = slot(1);
        return paxos::AcceptedReply{ballot(), first, Slot(first.raw() + prng_.below(9)), slot(0)};
      }
      case 6:
        return paxos::Refuse{ballot(), optional_ballot(), slot(0)};
      case 7:
        return paxos::Heartbeat{ballot(), number(), slot(0)};
      case 8:
        return paxos::HeartbeatReply{ballot(), number(), slot(0), slot(0)};
      case 9:
        return paxos::Fetch{slot(1)};
      case 10:
        return paxos::Learn{slot(1), values(), slot(0)};
      case 11:
        return paxos::SnapshotNeeded{slot(1)};
      case 12:
        return paxos::Yield{ballot()};
      case 13:
        return paxos::Recover{number()};
      default:
        return paxos::RecoverReply{number(), ballot(), slot(0)};
    }
  }
  static constexpr std::size_t kKinds = 15;
  static_assert(std::variant_size_v<Message> == kKinds);

 private:
  // Small and large ones alike.
  std::uint64_t number() { return 1 + (prng_.next() >> prng_.between(2, 63)); }
  Slot slot(std::uint64_t least) {
    return Slot(std::max(least, number() - (prng_.chance(100) ? 1 : 0)) % (1ULL << 61) + least);
  }
  Ballot ballot() {
    return {number(), NodeId::from_raw(static_cast<std::uint32_t>(prng_.between(1, 1024)))};
  }
  Ballot optional_ballot() { return prng_.chance(300) ? Ballot{} : ballot(); }
  Value value() {
    const auto kind = static_cast<ValueKind>(prng_.between(1, 3));
    std::string bytes;
    if (kind == ValueKind::kMembership) bytes = "m";
    if (kind != ValueKind::kNoop)
      bytes.append(prng_.below(60), static_cast<char>(prng_.below(256)));
    return {kind, std::make_shared<const std::string>(std::move(bytes))};
  }
  std::vector<Value> values() {
    std::vector<Value> all(prng_.between(1, 20));
    for (Value& one : all) one = value();
    return all;
  }
  Message promise() {
    paxos::Promise to{ballot(), slot(0), {}};
    Slot at = slot(1);
    for (std::uint64_t i = prng_.below(20); i > 0; --i) {
      to.accepted.push_back({at, optional_ballot(), value()});
      at = Slot(at.raw() + prng_.between(1, 3));
    }
    return to;
  }

  Prng prng_;
};

// ---- equality ----

bool same(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::ranges::equal(a, b, [](const Value& x, const Value& y) {
    return x.kind == y.kind && *x.bytes == *y.bytes;
  });
}
// Field by field, as tuples.
auto fields(const paxos::PreVote& m) { return std::tuple(m.ballot, m.chosen, m.yielded); }
auto fields(const paxos::PreVoteReply& m) {
  return std::tuple(m.ballot, m.granted, m.promised, m.chosen);
}
auto fields(const paxos::Prepare& m) { return std::tuple(m.ballot, m.chosen, m.yielded); }
auto fields(const paxos::Promise& m) {
  std::vector<std::tuple<Slot, Ballot, ValueKind, std::string>> accepted;
  for (const paxos::Accepted& one : m.accepted) {
    accepted.emplace_back(one.slot, one.ballot, one.value.kind, *one.value.bytes);
  }
  return std::tuple(m.ballot, m.chosen, accepted);
}
auto fields(const paxos::Accept& m) { return std::tuple(m.ballot, m.first, m.chosen); }
auto fields(const paxos::AcceptedReply& m) {
  return std::tuple(m.ballot, m.first, m.last, m.chosen);
}
auto fields(const paxos::Refuse& m) { return std::tuple(m.ballot, m.promised, m.chosen); }
auto fields(const paxos::Heartbeat& m) { return std::tuple(m.ballot, m.round, m.chosen); }
auto fields(const paxos::HeartbeatReply& m) {
  return std::tuple(m.ballot, m.round, m.chosen, m.accepted);
}
auto fields(const paxos::Fetch& m) { return std::tuple(m.from); }
auto fields(const paxos::Learn& m) { return std::tuple(m.first, m.chosen); }
auto fields(const paxos::SnapshotNeeded& m) { return std::tuple(m.applied); }
auto fields(const paxos::Yield& m) { return std::tuple(m.ballot); }
auto fields(const paxos::Recover& m) { return std::tuple(m.nonce); }
auto fields(const paxos::RecoverReply& m) { return std::tuple(m.nonce, m.ballot, m.upto); }

bool same(const Message& a, const Message& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&b]<class M>(const M& x) {
        const M& y = std::get<M>(b);
        if constexpr (requires { x.values; }) {
          if (!same(x.values, y.values)) return false;
        }
        return fields(x) == fields(y);
      },
      a);
}

TEST(PeerCodec, EveryMessageComesBackAsItWas) {
  Maker maker(7);
  for (std::size_t i = 0; i < 30'000; ++i) {
    const Message message = maker.message(i % Maker::kKinds);
    Result<PeerMessage> back = decode_peer_message(encode_peer_message(message));
    ASSERT_TRUE(back.has_value()) << message.index() << ": " << back.error().message();
    ASSERT_TRUE(std::holds_alternative<Message>(*back));
    ASSERT_TRUE(same(message, std::get<Message>(*back))) << message.index();
  }
}

TEST(PeerCodec, ReportsComeBackAsTheyWere) {
  pb::PeerReport report;
  report.mutable_stat();
  Result<PeerMessage> back = decode_peer_message(encode_peer_report(report));
  ASSERT_TRUE(back.has_value());
  ASSERT_TRUE(std::holds_alternative<pb::PeerReport>(*back));
  EXPECT_TRUE(
      google::protobuf::util::MessageDifferencer::Equals(report, std::get<pb::PeerReport>(*back)));
}

// ---- what is refused ----

struct Case {
  const char* name;
  std::function<void(pb::PeerEnvelope&)> fill;
  const char* message;  // part of the refusal; null: accepted
};

void good(pb::PaxosBallot* ballot) {
  ballot->set_round(3);
  ballot->set_node(2);
}
pb::PaxosAccept* accept_of(pb::PeerEnvelope& e, std::uint64_t first, int values) {
  pb::PaxosAccept* const m = e.mutable_accept();
  good(m->mutable_ballot());
  m->set_first(first);
  for (int i = 0; i < values; ++i) m->add_values()->set_kind(1);
  return m;
}
pb::PaxosPromise* promise_of(pb::PeerEnvelope& e, std::vector<std::uint64_t> slots) {
  pb::PaxosPromise* const m = e.mutable_promise();
  good(m->mutable_ballot());
  for (const std::uint64_t slot : slots) {
    pb::PaxosAcceptedValue* const one = m->add_accepted();
    one->set_slot(slot);
    good(one->mutable_ballot());
    one->mutable_value()->set_kind(2);
  }
  return m;
}

const Case kCases[] = {
    {"nothing", [](pb::PeerEnvelope&) {}, "unknown kind"},
    {"no ballot", [](pb::PeerEnvelope& e) { e.mutable_yield(); }, "no ballot"},
    {"ballot without node",
     [](pb::PeerEnvelope& e) { e.mutable_yield()->mutable_ballot()->set_round(1); }, "no ballot"},
    {"ballot without round",
     [](pb::PeerEnvelope& e) { e.mutable_yield()->mutable_ballot()->set_node(1); }, "no ballot"},
    {"ballot of a chunk server",
     [](pb::PeerEnvelope& e) {
       good(e.mutable_yield()->mutable_ballot());
       e.mutable_yield()->mutable_ballot()->set_node(1025);
     },
     "no ballot"},
    {"half a ballot",
     [](pb::PeerEnvelope& e) {
       good(e.mutable_pre_vote()->mutable_ballot());
       e.mutable_pre_vote()->mutable_yielded()->set_round(1);
     },
     "half a ballot"},
    {"good accept", [](pb::PeerEnvelope& e) { accept_of(e, 1, 2); }, nullptr},
    {"accept of no slot", [](pb::PeerEnvelope& e) { accept_of(e, 0, 2); }, "no slot"},
    {"accept of nothing", [](pb::PeerEnvelope& e) { accept_of(e, 1, 0); }, "no values"},
    {"last slot", [](pb::PeerEnvelope& e) { accept_of(e, kSlotMax.raw(), 1); }, nullptr},
    {"past the last slot", [](pb::PeerEnvelope& e) { accept_of(e, kSlotMax.raw(), 2); },
     "beyond the last"},
    {"slot overflow", [](pb::PeerEnvelope& e) { accept_of(e, UINT64_MAX, 2); }, "beyond the last"},
    {"chosen beyond the last",
     [](pb::PeerEnvelope& e) { accept_of(e, 1, 2)->set_chosen(UINT64_MAX); }, "beyond the last"},
    {"value of no kind",
     [](pb::PeerEnvelope& e) { accept_of(e, 1, 2)->mutable_values(1)->set_kind(0); },
     "unknown kind of value"},
    {"value of a new kind",
     [](pb::PeerEnvelope& e) { accept_of(e, 1, 2)->mutable_values(1)->set_kind(4); },
     "unknown kind of value"},
    {"value of a kind of 2^32",
     [](pb::PeerEnvelope& e) { accept_of(e, 1, 2)->mutable_values(1)->set_kind(0xffffff02U); },
     "unknown kind of value"},
    {"noop with bytes",
     [](pb::PeerEnvelope& e) { accept_of(e, 1, 2)->mutable_values(0)->set_bytes("x"); },
     "a noop with bytes"},
    {"membership of nothing",
     [](pb::PeerEnvelope& e) { accept_of(e, 1, 2)->mutable_values(0)->set_kind(3); },
     "an empty membership"},
    {"empty promise", [](pb::PeerEnvelope& e) { promise_of(e, {}); }, nullptr},
    {"promise with gaps",
     [](pb::PeerEnvelope& e) {
       promise_of(e, {4, 6, 7});
     },
     nullptr},
    {"promise twice",
     [](pb::PeerEnvelope& e) {
       promise_of(e, {4, 4});
     },
     "do not ascend"},
    {"promise backwards",
     [](pb::PeerEnvelope& e) {
       promise_of(e, {5, 4});
     },
     "do not ascend"},
    {"promise of no slot", [](pb::PeerEnvelope& e) { promise_of(e, {0}); }, "no slot"},
    {"range backwards",
     [](pb::PeerEnvelope& e) {
       good(e.mutable_accepted()->mutable_ballot());
       e.mutable_accepted()->set_first(5);
       e.mutable_accepted()->set_last(4);
     },
     "an empty range"},
    {"heartbeat of no round",
     [](pb::PeerEnvelope& e) { good(e.mutable_heartbeat()->mutable_ballot()); }, "no number"},
    {"fetch of no slot", [](pb::PeerEnvelope& e) { e.mutable_fetch(); }, "no slot"},
    {"learn of nothing", [](pb::PeerEnvelope& e) { e.mutable_learn()->set_first(1); }, "no values"},
    {"recover without nonce", [](pb::PeerEnvelope& e) { e.mutable_recover(); }, "no number"},
};

TEST(PeerCodec, ImpossibleFieldsAreRefused) {
  for (const Case& one : kCases) {
    pb::PeerEnvelope envelope;
    one.fill(envelope);
    const Result<PeerMessage> back = decode_peer_message(envelope.SerializeAsString());
    EXPECT_EQ(back.has_value(), one.message == nullptr) << one.name;
    if (back.has_value() || one.message == nullptr) continue;
    EXPECT_EQ(back.error().code(), Code::kProtocol) << one.name;
    EXPECT_NE(back.error().message().find(one.message), std::string::npos)
        << one.name << ": " << back.error().message();
  }
}

// ---- noise ----

// What came through the decoder is sound: it can be encoded, and comes back the same.
void expect_sound(std::string_view bytes) {
  Result<PeerMessage> first = decode_peer_message(bytes);
  if (!first.has_value()) {
    EXPECT_EQ(first.error().code(), Code::kProtocol);
    return;
  }
  if (!std::holds_alternative<Message>(*first)) return;
  const Message& message = std::get<Message>(*first);
  Result<PeerMessage> second = decode_peer_message(encode_peer_message(message));
  ASSERT_TRUE(second.has_value()) << second.error().message();
  EXPECT_TRUE(same(message, std::get<Message>(*second)));
}

TEST(PeerCodec, RandomBytesNeverBreakIt) {
  Prng prng(11);
  for (int i = 0; i < 50'000; ++i) {
    std::string bytes(prng.below(64), '\0');
    for (char& byte : bytes) byte = static_cast<char>(prng.below(256));
    expect_sound(bytes);
  }
}

TEST(PeerCodec, DamagedMessagesNeverBreakIt) {
  Prng prng(12);
  Maker maker(13);
  std::size_t refused = 0;
  constexpr std::size_t kRounds = 60'000;
  for (std::size_t i = 0; i < kRounds; ++i) {
    std::string bytes = encode_peer_message(maker.message(i % Maker::kKinds));
    for (std::uint64_t changes = prng.between(1, 4); changes > 0 && !bytes.empty(); --changes) {
      const std::size_t at = prng.below(bytes.size());
      switch (prng.below(4)) {
        case 0:
          bytes[at] = static_cast<char>(prng.below(256));
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << prng.below(8)));
          break;
        case 2:
          bytes.resize(at);
          break;
        default:
          bytes.insert(at, bytes.substr(prng.below(bytes.size()), prng.below(16)));
      }
    }
    expect_sound(bytes);
    if (!decode_peer_message(bytes).has_value()) ++refused;
  }
  EXPECT_GT(refused, kRounds / 5);
  EXPECT_LT(refused, kRounds);
}

}  // namespace
}  // namespace cairn::mds::replication
