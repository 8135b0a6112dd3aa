// Memberships as bytes: docs/formats/mds-log.md.
#include <gtest/gtest.h>

#include "common/base/prng.h"
#include "mds/paxos/testing/cluster.h"

namespace cairn::mds::paxos {
namespace {

using testing::id_of;
using testing::members;

std::string hex(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

Membership example() {
  Membership membership;
  membership.version = 3;
  membership.next_id = 4;
  membership.members = {
      {.id = id_of(1), .role = Role::kVoter, .address = "a:1", .repo_uuid = 0x1122334455667788},
      {.id = id_of(3), .role = Role::kLearner, .address = "b:2", .repo_uuid = 9}};
  return membership;
}

TEST(MembershipBytes, AreThoseOfTheFormatPage) {
  EXPECT_EQ(hex(encode_membership(example())),
            "01"
            "0300000000000000"
            "04000000"
            "02000000"
            "01000000"
            "02"
            "8877665544332211"
            "0300"
            "613a31"
            "03000000"
            "01"
            "0900000000000000"
            "0300"
            "623a32");
}

TEST(MembershipBytes, ComeBackAsTheyWere) {
  for (const Membership& membership : {Membership(), members(1), members(5, 3), example()}) {
    const std::optional<Membership> back = decode_membership(encode_membership(membership));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, membership);
  }
}

TEST(MembershipBytes, WithIdsThatAreNotAscendingOrNotGivenYetAreRefused) {
  Membership twice = example();
  twice.members[1].id = id_of(1);
  EXPECT_FALSE(decode_membership(encode_membership(twice)).has_value());
  Membership none = example();
  none.members[0].id = NodeId();
  EXPECT_FALSE(decode_membership(encode_membership(none)).has_value());
  Membership future = example();
  future.next_id = 3;
  EXPECT_FALSE(decode_membership(encode_membership(future)).has_value());
}

TEST(MembershipBytes, CutOrLengthenedAreRefused) {
  const std::string bytes = encode_membership(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_membership(std::string_view(bytes).substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(decode_membership(bytes + '\0').has_value());
}

TEST(MembershipBytes, OfAnyKindNeverBreakTheDecoderAndMeanOneThing) {
  Prng prng(7);
  const std::string bytes = encode_membership(example());
  std::size_t accepted = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string other = bytes;
    for (std::uint64_t changes = prng.between(1, 4); changes > 0; --changes) {
      other[prng.below(other.size())] = static_cast<char>(prng.below(256));
    }
    if (prng.chance(200)) other.resize(prng.below(other.size() + 20));
    const std::optional<Membership> membership = decode_membership(other);
    if (!membership.has_value()) continue;
    ++accepted;
    EXPECT_EQ(encode_membership(*membership), other);
  }
  EXPECT_GT(accepted, 100u);
}

TEST(Membership, MajoritiesAreOfVotersOnly) {
  EXPECT_EQ(majority(members(1, 5)), 1u);
  EXPECT_EQ(majority(members(2)), 2u);
  EXPECT_EQ(majority(members(3, 2)), 2u);
  EXPECT_EQ(majority(members(4)), 3u);
  EXPECT_EQ(majority(members(5)), 3u);
  EXPECT_EQ(find_member(members(2), id_of(3)), nullptr);
}

}  // namespace
}  // namespace cairn::mds::paxos
