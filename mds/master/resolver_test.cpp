#include "mds/master/resolver.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::mds::master {
namespace {

// How one piece stands to one op.
enum class Stand { kLacks, kHolds, kForwarded, kSettled };

PieceReport report_of(unsigned piece, const std::vector<Stand>& stands,
                      const std::vector<std::uint32_t>& participants) {
  PieceReport report{.piece = piece, .undecided = {}, .settled_epoch = 5, .settled_below = 1};
  for (std::size_t op = 0; op < stands.size(); ++op) {
    const OpName name{.epoch = 5, .seq = op + 1};
    const bool forwarded = stands[op] == Stand::kForwarded;
    if (stands[op] == Stand::kHolds || forwarded) {
      report.undecided.push_back({name, participants[op], forwarded});
    }
    if (stands[op] == Stand::kSettled) report.settled_below = op + 2;
  }
  return report;
}

// Every combination of two ops over three pieces: who takes part, who is reachable, who has what.
TEST(Resolver, ForwardsWhatEveryReachableParticipantHasOrSomeOneCannotUndo) {
  int cases = 0;
  for (std::uint32_t reachable = 1; reachable < 8; ++reachable) {
    for (std::uint32_t first = 1; first < 8; ++first) {
      for (std::uint32_t second = 1; second < 8; ++second) {
        for (int code = 0; code < 4096; ++code) {
          const std::vector<std::uint32_t> participants{first, second};
          std::vector<PieceReport> reports;
          std::vector<std::uint32_t> lack(2, 0);
          std::vector<bool> kept(2, false);
          std::vector<bool> undecided(2, false);
          bool possible = true;
          int rest = code;
          for (unsigned piece = 0; piece < 3; ++piece) {
            std::vector<Stand> stands;
            for (std::size_t op = 0; op < 2; ++op) {
              stands.push_back(static_cast<Stand>(rest % 4));
              rest /= 4;
              // Only participants hold an op. A settled mark covers all ops below it.
              const bool takes_part = (participants[op] >> piece & 1U) != 0;
              const bool listed = stands[op] == Stand::kHolds || stands[op] == Stand::kForwarded;
              if (!takes_part && listed) possible = false;
            }
            if (stands[1] == Stand::kSettled && stands[0] != Stand::kSettled) possible = false;
            if (!possible) break;
            if ((reachable >> piece & 1U) == 0) continue;
            reports.push_back(report_of(piece, stands, participants));
            for (std::size_t op = 0; op < 2; ++op) {
              const bool takes_part = (participants[op] >> piece & 1U) != 0;
              const bool listed = stands[op] == Stand::kHolds || stands[op] == Stand::kForwarded;
              if (takes_part && stands[op] == Stand::kLacks) lack[op] |= 1U << piece;
              if (takes_part && stands[op] >= Stand::kForwarded) kept[op] = true;
              if (listed) undecided[op] = true;
            }
          }
          if (!possible) continue;
          ++cases;
          const Result<Resolution> resolved = resolve_ops(reports, 0);
          ASSERT_TRUE(resolved.has_value());
          const std::vector<OpName>& forward = resolved->forward;
          std::uint32_t stale = 0;
          for (std::size_t op = 0; op < 2; ++op) {
            const bool goes = std::ranges::find(forward, OpName{5, op + 1}) != forward.end();
            EXPECT_EQ(goes, undecided[op] && (lack[op] == 0 || kept[op])) << code << " op " << op;
            if (goes) stale |= lack[op];
          }
          EXPECT_EQ(resolved->stale, stale) << code;
        }
      }
    }
  }
  EXPECT_GT(cases, 10'000);
}

TEST(Resolver, CountsAPieceThatSettledPastAnOpAsHavingIt) {
  const std::vector<PieceReport> reports = {
      {.piece = 0, .undecided = {{{5, 3}, 0b11, false}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 1, .undecided = {}, .settled_epoch = 5, .settled_below = 4}};
  EXPECT_EQ(resolve_ops(reports, 0)->forward, (std::vector<OpName>{{5, 3}}));
}

TEST(Resolver, TakesANewerEpochForTheSettlementOfOlderOnes) {
  const std::vector<PieceReport> reports = {
      {.piece = 0, .undecided = {{{5, 3}, 0b11, false}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 1, .undecided = {}, .settled_epoch = 6, .settled_below = 1}};
  EXPECT_EQ(resolve_ops(reports, 0)->forward.size(), 1U);
}

TEST(Resolver, DropsWhatOneReachableParticipantLacks) {
  const std::vector<PieceReport> reports = {
      {.piece = 0,
       .undecided = {{{5, 1}, 0b111, false}, {{5, 2}, 0b011, false}},
       .settled_epoch = 0,
       .settled_below = 0},
      {.piece = 1, .undecided = {{{5, 2}, 0b011, false}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 2, .undecided = {}, .settled_epoch = 0, .settled_below = 0}};
  EXPECT_EQ(resolve_ops(reports, 0)->forward, (std::vector<OpName>{{5, 2}}));
}

// An attempt resolved piece 0 and ended before it was finished (the master died); piece 1 could not
// be reached then, now it can.
TEST(Resolver, GivesUpAPieceThatLacksWhatWasRolledForwardBefore) {
  const std::vector<PieceReport> reports = {
      {.piece = 0, .undecided = {{{5, 3}, 0b111, true}}, .settled_epoch = 5, .settled_below = 1},
      {.piece = 1, .undecided = {}, .settled_epoch = 5, .settled_below = 1},
      {.piece = 2, .undecided = {{{5, 3}, 0b111, false}}, .settled_epoch = 5, .settled_below = 1}};
  const Result<Resolution> resolved = resolve_ops(reports, 0);
  EXPECT_EQ(resolved->forward, (std::vector<OpName>{{5, 3}}));
  EXPECT_EQ(resolved->stale, 0b010U);
}

TEST(Resolver, RefusesContradictions) {
  const std::vector<PieceReport> masks = {
      {.piece = 0, .undecided = {{{5, 1}, 0b11, false}}, .settled_epoch = 0, .settled_below = 0},
      {.piece = 1, .undecided = {{{5, 1}, 0b111, false}}, .settled_epoch = 0, .settled_below = 0}};
  EXPECT_EQ(resolve_ops(masks, 0).error().code(), Code::kCorrupt);
  const std::vector<PieceReport> stranger = {
      {.piece = 2, .undecided = {{{5, 1}, 0b11, false}}, .settled_epoch = 0, .settled_below = 0}};
  EXPECT_EQ(resolve_ops(stranger, 0).error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::mds::master
