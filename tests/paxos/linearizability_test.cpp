#include "tests/paxos/linearizability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/base/prng.h"

namespace cairn::paxos_sim {
namespace {

Operation write(std::uint64_t value, std::uint64_t called, std::uint64_t returned) {
  return {.op = {.kind = OpKind::kWrite, .argument = value},
          .called = called,
          .returned = returned,
          .result = 0};
}
Operation append(std::uint64_t value, std::uint64_t called, std::uint64_t returned,
                 std::uint64_t result) {
  return {.op = {.kind = OpKind::kAppend, .argument = value},
          .called = called,
          .returned = returned,
          .result = result};
}
Operation cas(std::uint64_t expected, std::uint64_t value, std::uint64_t called,
              std::uint64_t returned, std::uint64_t before) {
  return {.op = {.kind = OpKind::kCas, .argument = value, .expected = expected},
          .called = called,
          .returned = returned,
          .result = before};
}
Operation read(std::uint64_t result, std::uint64_t called, std::uint64_t returned) {
  return {.op = {}, .called = called, .returned = returned, .result = result};
}
std::uint64_t written(std::uint64_t value) {
  return apply_op(0, {.kind = OpKind::kWrite, .argument = value}).state;
}
std::uint64_t appended(std::uint64_t state, std::uint64_t value) {
  return apply_op(state, {.kind = OpKind::kAppend, .argument = value}).state;
}
Verdict check(const std::vector<Operation>& history) { return check_linearizable(history); }

TEST(Linearizability, AnEmptyHistoryIs) { EXPECT_EQ(check({}), Verdict::kLinearizable); }

TEST(Linearizability, AReadSeesTheWriteThatEndedBefore) {
  EXPECT_EQ(check({write(7, 1, 2), read(written(7), 3, 4)}), Verdict::kLinearizable);
  EXPECT_EQ(check({write(7, 1, 2), read(0, 3, 4)}), Verdict::kNot);
}

TEST(Linearizability, AReadBesideAWriteMaySeeEither) {
  EXPECT_EQ(check({write(7, 1, 4), read(0, 2, 3)}), Verdict::kLinearizable);
  EXPECT_EQ(check({write(7, 1, 4), read(written(7), 2, 3)}), Verdict::kLinearizable);
  EXPECT_EQ(check({write(7, 1, 4), read(written(8), 2, 3)}), Verdict::kNot);
}

TEST(Linearizability, TwoReadsDoNotGoBackInTime) {
  EXPECT_EQ(check({write(7, 1, 10), read(0, 2, 3), read(written(7), 4, 5)}),
            Verdict::kLinearizable);
  EXPECT_EQ(check({write(7, 1, 10), read(written(7), 2, 3), read(0, 4, 5)}), Verdict::kNot);
}

TEST(Linearizability, TwoReadersAgreeOnTheOrderOfTwoWrites) {
  const std::vector<Operation> good = {write(1, 1, 20), write(2, 2, 21), read(written(1), 3, 4),
                                       read(written(2), 5, 6), read(written(2), 7, 8)};
  EXPECT_EQ(check(good), Verdict::kLinearizable);
  std::vector<Operation> bad = good;
  bad[4].result = written(1);
  EXPECT_EQ(check(bad), Verdict::kNot);
}

TEST(Linearizability, WhatNeverReturnedMayHappenLateOrNever) {
  EXPECT_EQ(check({write(7, 1, kNeverReturned), read(0, 2, 3), read(written(7), 4, 5)}),
            Verdict::kLinearizable);
  EXPECT_EQ(check({write(7, 1, kNeverReturned), read(0, 2, 3)}), Verdict::kLinearizable);
  EXPECT_EQ(check({write(7, 4, kNeverReturned), read(written(7), 2, 3)}), Verdict::kNot);
  EXPECT_EQ(check({write(7, 1, kNeverReturned), read(written(7), 2, 3), read(0, 4, 5)}),
            Verdict::kNot);
}

TEST(Linearizability, AnAppendThatWasDoneTwiceIsNoticed) {
  const std::uint64_t once = appended(0, 7);
  EXPECT_EQ(check({append(7, 1, 2, once), read(once, 3, 4)}), Verdict::kLinearizable);
  EXPECT_EQ(check({append(7, 1, 2, once), read(appended(once, 7), 3, 4)}), Verdict::kNot);
  EXPECT_EQ(
      check({append(7, 1, kNeverReturned, 0), read(once, 3, 4), read(appended(once, 7), 5, 6)}),
      Verdict::kNot);
}

TEST(Linearizability, ALostAppendIsNoticed) {
  const std::uint64_t first = appended(0, 1);
  EXPECT_EQ(check({append(1, 1, 2, first), append(2, 3, 4, appended(0, 2))}), Verdict::kNot);
}

TEST(Linearizability, OnlyOneOfTwoSwapsOfTheSameValueSucceeds) {
  EXPECT_EQ(check({cas(0, 1, 1, 4, 0), cas(0, 2, 2, 3, written(1))}), Verdict::kLinearizable);
  EXPECT_EQ(check({cas(0, 1, 1, 4, 0), cas(0, 2, 2, 3, 0)}), Verdict::kNot);
  EXPECT_EQ(check({cas(0, 1, 1, 2, written(1))}), Verdict::kNot);
}

TEST(Linearizability, GivesUpWhenToldTo) {
  const std::vector<Operation> history = {write(1, 1, 2), write(2, 3, 4), read(written(2), 5, 6)};
  EXPECT_EQ(check_linearizable(history, 0, 2), Verdict::kGaveUp);
}

// A register that is one, used by `clients` at once; some calls never return.
std::vector<Operation> true_history(Prng& prng, std::size_t clients, std::size_t count) {
  struct Client {
    Operation now;
    bool called = false;
    bool done = false;
  };
  std::vector<Client> all(clients);
  std::vector<Operation> history;
  std::uint64_t state = 0;
  std::uint64_t time = 0;
  while (history.size() < count) {
    Client& client = all[prng.below(clients)];
    time += 2;
    if (!client.called) {
      client = Client{.now = {.op = {.kind = static_cast<OpKind>(prng.between(1, 4)),
                                     .argument = prng.next(),
                                     .expected = prng.chance(700) ? state : 0},
                              .called = time},
                      .called = true};
    } else if (!client.done) {
      const RegisterStep step = apply_op(state, client.now.op);
      state = step.state;
      client.now.result = step.result;
      client.done = true;
    } else {
      client.called = false;
      if (prng.chance(950)) client.now.returned = time;
      history.push_back(client.now);
    }
  }
  // What had an effect without an answer belongs to it.
  for (const Client& client : all) {
    if (client.called && client.done) history.push_back(client.now);
  }
  return history;
}

TEST(Linearizability, HistoriesOfATrueRegisterAre) {
  Prng prng(1);
  for (int i = 0; i < 300; ++i) {
    const std::vector<Operation> history = true_history(prng, prng.between(1, 7), 120);
    ASSERT_EQ(check(history), Verdict::kLinearizable) << i;
  }
}

TEST(Linearizability, OneWrongAnswerOfMillionsIsNoticed) {
  Prng prng(2);
  for (int i = 0; i < 300; ++i) {
    std::vector<Operation> history = true_history(prng, prng.between(1, 5), 80);
    std::vector<Operation*> reads;
    for (Operation& operation : history) {
      const bool answered = operation.returned != kNeverReturned;
      if (answered && operation.op.kind == OpKind::kRead) reads.push_back(&operation);
    }
    if (reads.empty()) continue;
    reads[prng.below(reads.size())]->result ^= 1;
    ASSERT_EQ(check(history), Verdict::kNot) << i;
  }
}

// By brute force: is there any order at all?
bool any_order(const std::vector<Operation>& history) {
  std::vector<std::size_t> order(history.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  do {
    std::uint64_t state = 0;
    bool fits = true;
    for (std::size_t i = 0; i < order.size() && fits; ++i) {
      const Operation& operation = history[order[i]];
      for (std::size_t j = i + 1; j < order.size(); ++j) {
        fits = fits && history[order[j]].returned > operation.called;
      }
      const RegisterStep step = apply_op(state, operation.op);
      fits = fits && (operation.returned == kNeverReturned || step.result == operation.result);
      state = step.state;
    }
    if (fits) return true;
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

TEST(Linearizability, SmallHistoriesAreJudgedLikeByBruteForce) {
  Prng prng(3);
  int good = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<Operation> history = true_history(prng, 2, 5);
    // Shifted returns and exchanged answers make histories on the edge.
    Operation& late = history[prng.below(history.size())];
    Operation& other = history[prng.below(history.size())];
    if (prng.chance(700)) std::swap(late.result, other.result);
    if (prng.chance(500) && late.returned != kNeverReturned) late.returned = late.called + 1;
    const bool expected = any_order(history);
    good += expected ? 1 : 0;
    ASSERT_EQ(check(history), expected ? Verdict::kLinearizable : Verdict::kNot) << i;
  }
  EXPECT_GT(good, 200);
  EXPECT_LT(good, 1800);
}

}  // namespace
}  // namespace cairn::paxos_sim
