// Is there an order of the operations of one register, each taking effect at some moment between
// its call and its return, that explains every answer?
//
// Sources: J. Wing, C. Gong, "Testing and Verifying Concurrent Objects" (1993): the search.
//          G. Lowe, "Testing for linearizability" (2017): remember what was reached (which
//          operations, which state) and never go on from there twice. M. Herlihy, J. Wing (1990):
//          a history is linearizable when it is so for each register.
//
// Limits: gives up after `steps_max` and says so; never a wrong "no" short of a 128-bit collision.
#pragma once

#include <cstdint>
#include <span>

#include "tests/paxos/register.h"

namespace cairn::paxos_sim {

inline constexpr std::uint64_t kNeverReturned = UINT64_MAX;

struct Operation {
  RegisterOp op;
  std::uint64_t called = 0;  // logical times, all different
  // kNeverReturned: it may have taken effect at any time after the call, or never.
  std::uint64_t returned = kNeverReturned;
  std::uint64_t result = 0;
};

enum class Verdict : std::uint8_t { kLinearizable, kNot, kGaveUp };

// All operations of one register that begins as `initial`.
Verdict check_linearizable(std::span<const Operation> operations, std::uint64_t initial = 0,
                           std::uint64_t steps_max = 4'000'000);

}  // namespace cairn::paxos_sim
