#include "mds/master/resolver.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::mds::master {
namespace {

// How one piece stands to one op.
enum class Stand { kLacks, kHolds, kSettled };

PieceReport report_of(unsigned piece, const std::vector<Stand>& stands,
                      const std::vector<std::uint32_t>& participants) {
  PieceReport report{.piece = piece, .undecided = {}, .settled_epoch = 5, .settled_below = 1};
  for (std::size_t op = 0; op < stands.size(); ++op) {
    const OpName name{.epoch = 5, .seq = op + 1};
    if (stands[op] == Stand::kHolds) report.undecided.push_back({name, participants[op]});
    if (stands[op] == Stand::kSettled) report.settled_below = op + 2;
  }
  return report;
}

// Every combination of two ops over three pieces: who takes part, who is reachable, who has what.
TEST(Resolver, ForwardsExactlyWhatEveryReachableParticipantHas) {
  int cases = 0;
  for (std::uint32_t reachable = 1; reachable < 8; ++reachable) {
    for (std::uint32_t first = 1; first < 8; ++first) {
      for (std::uint32_t second = 1; second < 8; ++second) {
        for (int code = 0; code < 729; ++code) {
          const std::vector<std::uint32_t> participants{first, second};
          std::vector<PieceReport> reports;
          std::vector<bool> all_have(2, true);
          std::vector<bool> undecided(2, false);
          bool possible = true;
          int rest = code;
          for (unsigned piece = 0; piece < 3; ++piece) {
            std::vector<Stand> stands;
            for (std::size_t op = 0; op < 2; ++op) {
              stands.push_back(static_cast<Stand>(rest % 3));
              rest /= 3;
              // Only participants hold an op. A settled mark covers all ops below it.
              const bool takes_part = (participants[op] >> piece & 1U) != 0;
              if (!takes_part && stands[op] == Stand::kHolds) possible = false;
            }
            if (stands[1] == Stand::kSettled && stands[0] != Stand::kSettled) possible = false;
            if (!possible) break;
            if ((reachable >> piece & 1U) == 0) continue;
            reports.push_back(report_of(piece, stands, participants));
            for (std::size_t op = 0; op < 2; ++op) {
              const bool takes_part = (participants[op] >> piece & 1U) != 0;
              if (takes_part && stands[op] == Stand::kLacks) all_have[op] = false;
              if (stands[op] == Stand::kHolds) undecided[op] = true;
            }
          }
          if (!possible) continue;
          ++cases;
          const Result<std::vector<OpName>> forward = ops_to_forward(reports);
          ASSERT_TRUE(forward.has_value());
          for (std::size_t op = 0; op < 2; ++op) {
            const bool goes = std::ranges::find(*forward, OpName{5, op + 1}) != forward->end();
            EXPECT_EQ(goes, undecided[op] && all_have[op]) << code << " op " << op;
          }
        }
      }
    }
  }
  EXPECT_GT(cases, 10'000);
}

TEST(Resolver, CountsAPieceThatSettledPastAnOpAsHavingIt) {
  const std::vector<PieceReport> reports = {
      {.piece = 0, .undecided = {{{5, 3}, 0b11}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 1, .undecided = {}, .settled_epoch = 5, .settled_below = 4}};
  EXPECT_EQ(ops_to_forward(reports).value(), (std::vector<OpName>{{5, 3}}));
}

TEST(Resolver, TakesANewerEpochForTheSettlementOfOlderOnes) {
  const std::vector<PieceReport> reports = {
      {.piece = 0, .undecided = {{{5, 3}, 0b11}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 1, .undecided = {}, .settled_epoch = 6, .settled_below = 1}};
  EXPECT_EQ(ops_to_forward(reports).value().size(), 1U);
}

TEST(Resolver, DropsWhatOneReachableParticipantLacks) {
  const std::vector<PieceReport> reports = {
      {.piece = 0,
       .undecided = {{{5, 1}, 0b111}, {{5, 2}, 0b011}},
       .settled_epoch = 0,
       .settled_below = 0},
      {.piece = 1, .undecided = {{{5, 2}, 0b011}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 2, .undecided = {}, .settled_epoch = 0, .settled_below = 0}};
  EXPECT_EQ(ops_to_forward(reports).value(), (std::vector<OpName>{{5, 2}}));
}

TEST(Resolver, RefusesContradictions) {
  const std::vector<PieceReport> masks = {
      {.piece = 0, .undecided = {{{5, 1}, 0b11}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 1, .undecided = {{{5, 1}, 0b111}}, .settled_epoch = 0, .settled_below = 0}};
  EXPECT_EQ(ops_to_forward(masks).error().code(), Code::kCorrupt);
  const std::vector<PieceReport> stranger = {
      {.piece = 2, .undecided = {{{5, 1}, 0b11}}, .settled_epoch = 0, .settled_below = 0}};
  EXPECT_EQ(ops_to_forward(stranger).error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::mds::master
