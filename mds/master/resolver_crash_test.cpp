// The resolver over whole recoveries: attempts that end anywhere, pieces that come and go between
// them. Pieces are alike, so every multiset of piece histories stands for all its orders.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <optional>
#include <string>

#include "common/base/prng.h"
#include "mds/master/resolver.h"

namespace cairn::mds::master {
namespace {

enum class Has : std::uint8_t { kNoPart, kLacks, kHolds, kForwarded, kSettled };
constexpr std::array<OpName, 2> kOps{OpName{5, 1}, OpName{5, 2}};
constexpr unsigned kAttempts = 3;

// What one piece goes through.
struct History {
  std::array<Has, 2> has{};
  std::array<bool, kAttempts> reached{};
  std::array<bool, kAttempts> resolved{};  // before the master died; the last attempt does not end
};

class Chunk {
 public:
  Chunk(std::vector<History> pieces, unsigned data)
      : pieces_(std::move(pieces)), data_(data), participants_{mask(0), mask(1)} {
    for (std::size_t op = 0; op < 2; ++op) acked_[op] = (lacking(op) & participants_[op]) == 0;
  }

  // A settled mark is set only after the op was decided.
  bool possible() const {
    for (const History& piece : pieces_) {
      if (piece.has[0] == Has::kSettled && !acked_[0]) return false;
    }
    return participants_[0] != 0 && participants_[1] != 0;
  }

  // Until the attempt that is finished; false: it could not be.
  bool recover(unsigned attempts) {
    for (unsigned attempt = 0; attempt < attempts; ++attempt) {
      const bool last = attempt + 1 == attempts;
      const std::optional<std::uint32_t> stay = attempt_once(attempt, last);
      if (last && stay.has_value()) current_ = *stay;
      if (last) return stay.has_value();
    }
    return false;
  }

  void check(const std::string& name) const {
    for (std::size_t op = 0; op < 2; ++op) {
      const std::uint32_t part = participants_[op] & current_;
      const std::uint32_t lacks = lacking(op) & part;
      EXPECT_TRUE(lacks == 0 || lacks == part) << name << ": op " << op << " is torn";
      EXPECT_TRUE(!acked_[op] || lacks == 0) << name << ": acknowledged op " << op << " is lost";
    }
    EXPECT_GE(static_cast<unsigned>(std::popcount(current_)), data_) << name;
  }

 private:
  std::uint32_t mask(std::size_t op) const {
    std::uint32_t mask = 0;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].has[op] != Has::kNoPart) mask |= 1U << i;
    }
    return mask;
  }
  std::uint32_t lacking(std::size_t op) const {
    std::uint32_t mask = 0;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].has[op] == Has::kLacks) mask |= 1U << i;
    }
    return mask;
  }
  PieceReport report(unsigned i) const {
    PieceReport report{.piece = i, .undecided = {}, .settled_epoch = 5, .settled_below = 1};
    for (std::size_t op = 0; op < 2; ++op) {
      const Has has = pieces_[i].has[op];
      if (has == Has::kSettled) report.settled_below = kOps[op].seq + 1;
      if (has == Has::kHolds || has == Has::kForwarded) {
        report.undecided.push_back({kOps[op], participants_[op], has == Has::kForwarded});
      }
    }
    return report;
  }
  // The pieces that stay, when the attempt got so far.
  std::optional<std::uint32_t> attempt_once(unsigned attempt, bool last) {
    std::vector<PieceReport> reports;
    std::uint32_t reached = 0;
    for (unsigned i = 0; i < pieces_.size(); ++i) {
      if (!pieces_[i].reached[attempt]) continue;
      reports.push_back(report(i));
      reached |= 1U << i;
    }
    if (reports.size() < data_) return std::nullopt;
    const Result<Resolution> resolution = resolve_ops(reports, data_);
    EXPECT_TRUE(resolution.has_value());
    const std::uint32_t stay = reached & ~resolution->stale;
    if (static_cast<unsigned>(std::popcount(stay)) < data_) return std::nullopt;
    for (unsigned i = 0; i < pieces_.size(); ++i) {
      const bool done = last || pieces_[i].resolved[attempt];
      if ((stay >> i & 1U) != 0 && done) resolve(pieces_[i], *resolution);
    }
    return stay;
  }
  static void resolve(History& piece, const Resolution& resolution) {
    for (std::size_t op = 0; op < 2; ++op) {
      if (piece.has[op] != Has::kHolds) continue;
      const bool forward =
          std::ranges::find(resolution.forward, kOps[op]) != resolution.forward.end();
      piece.has[op] = forward ? Has::kForwarded : Has::kLacks;
    }
  }

  std::vector<History> pieces_;
  const unsigned data_;
  const std::array<std::uint32_t, 2> participants_;
  std::array<bool, 2> acked_{};
  std::uint32_t current_ = 0;
};

// Every multiset of `count` of the histories.
void each_multiset(const std::vector<History>& histories, unsigned count,
                   const std::function<void(const std::vector<History>&)>& visit) {
  std::vector<std::size_t> at(count, 0);
  for (;;) {
    std::vector<History> pieces;
    pieces.reserve(count);
    for (const std::size_t i : at) pieces.push_back(histories[i]);
    visit(pieces);
    std::size_t digit = 0;
    while (digit < count && ++at[digit] == histories.size()) ++digit;
    if (digit == count) return;
    for (std::size_t lower = 0; lower < digit; ++lower) at[lower] = at[digit];
  }
}

struct Kinds {
  std::vector<Has> first;
  std::vector<Has> second;
  unsigned attempts = 2;
};

std::vector<History> histories_of(const Kinds& kinds) {
  std::vector<History> all;
  for (const Has first : kinds.first) {
    for (const Has second : kinds.second) {
      // Three ways through each attempt but the last: not reached, reached, resolved.
      unsigned ways = 2;
      for (unsigned i = 1; i < kinds.attempts; ++i) ways *= 3;
      for (unsigned way = 0; way < ways; ++way) {
        History history{.has = {first, second}, .reached = {}, .resolved = {}};
        unsigned rest = way;
        for (unsigned i = 0; i + 1 < kinds.attempts; ++i) {
          history.reached[i] = rest % 3 != 0;
          history.resolved[i] = rest % 3 == 2;
          rest /= 3;
        }
        history.reached[kinds.attempts - 1] = rest != 0;
        all.push_back(history);
      }
    }
  }
  return all;
}

struct Tally {
  std::uint64_t cases = 0;
  std::uint64_t finished = 0;
};

Tally run(const Kinds& kinds, unsigned pieces, unsigned data) {
  Tally tally;
  each_multiset(histories_of(kinds), pieces, [&](const std::vector<History>& histories) {
    Chunk chunk(histories, data);
    if (::testing::Test::HasFailure() || !chunk.possible()) return;
    ++tally.cases;
    if (!chunk.recover(kinds.attempts)) return;
    ++tally.finished;
    chunk.check(std::to_string(pieces) + " pieces, case " + std::to_string(tally.cases));
  });
  return tally;
}

TEST(ResolverCrash, LosesNothingAcknowledgedOfFourPlusTwoWhateverIsReachedAndResolvedWhen) {
  const Tally tally = run(
      {.first = {Has::kLacks, Has::kHolds}, .second = {Has::kLacks, Has::kHolds}, .attempts = 2}, 6,
      4);
  EXPECT_GT(tally.finished, 10'000U);
}

TEST(ResolverCrash, TakesOpsOfAnyParticipantsAndSettledOnes) {
  const Kinds kinds{.first = {Has::kNoPart, Has::kLacks, Has::kHolds, Has::kSettled},
                    .second = {Has::kNoPart, Has::kLacks, Has::kHolds},
                    .attempts = 2};
  for (const unsigned data : {1U, 2U}) EXPECT_GT(run(kinds, 3, data).finished, 1000U);
}

TEST(ResolverCrash, BearsTwoAttemptsThatWereNotFinished) {
  const Kinds kinds{
      .first = {Has::kLacks, Has::kHolds}, .second = {Has::kHolds}, .attempts = kAttempts};
  for (const unsigned data : {1U, 2U}) EXPECT_GT(run(kinds, 4, data).finished, 1000U);
}

// With every piece in reach one odd piece, which did what was undone elsewhere, stops nothing.
TEST(ResolverCrash, EndsWhenAllPiecesCanBeReachedAfterTwoAttemptsThatDisagreed) {
  // 3+1; pieces 0 to 2 hold the op, 3 does not. The first attempt forwards it at piece 0 and dies,
  // the second one, without piece 0, drops it.
  std::vector<History> pieces(4, History{.has = {Has::kHolds, Has::kHolds},
                                         .reached = {true, true, true},
                                         .resolved = {false, true, true}});
  pieces[0].reached[1] = false;
  pieces[0].resolved[0] = true;
  pieces[3].has[0] = Has::kLacks;
  pieces[3].reached[0] = false;
  Chunk chunk(pieces, 3);
  EXPECT_TRUE(chunk.recover(3));
  chunk.check("odd piece");
}

TEST(ResolverCrash, HoldsForRandomHistoriesOfSixPieces) {
  Prng prng(7);
  const std::vector<History> histories =
      histories_of({.first = {Has::kNoPart, Has::kLacks, Has::kHolds, Has::kHolds, Has::kSettled},
                    .second = {Has::kNoPart, Has::kLacks, Has::kHolds, Has::kHolds},
                    .attempts = kAttempts});
  std::uint64_t finished = 0;
  for (int i = 0; i < 200'000 && !HasFailure(); ++i) {
    std::vector<History> pieces;
    const auto count = static_cast<std::size_t>(prng.between(2, 6));
    for (std::size_t p = 0; p < count; ++p)
      pieces.push_back(histories[prng.below(histories.size())]);
    Chunk chunk(pieces, static_cast<unsigned>(prng.between(1, count)));
    if (!chunk.possible() || !chunk.recover(kAttempts)) continue;
    ++finished;
    chunk.check("random case " + std::to_string(i));
  }
  EXPECT_GT(finished, 1000U);
}

}  // namespace
}  // namespace cairn::mds::master
