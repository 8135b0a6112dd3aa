// The data type of the simulated tables: registers that are written, appended to, compared and
// swapped, read. A register's content is told by a hash of all that made it, so every read says a
// lot.
#pragma once

#include <cstdint>

#include "tests/paxos/draw.h"

namespace cairn::paxos_sim {

// A write answers nothing, an append what it made, a compare-and-swap what was there before.
enum class OpKind : std::uint8_t { kWrite = 1, kAppend = 2, kCas = 3, kRead = 4 };

struct RegisterOp {
  OpKind kind = OpKind::kRead;
  std::uint64_t argument = 0;
  std::uint64_t expected = 0;  // kCas
};

struct RegisterStep {
  std::uint64_t state = 0;
  std::uint64_t result = 0;
};

inline RegisterStep apply_op(std::uint64_t state, const RegisterOp& op) {
  switch (op.kind) {
    case OpKind::kWrite:
      return {mix(1, op.argument), 0};
    case OpKind::kAppend: {
      const std::uint64_t next = mix(state, op.argument);
      return {next, next};
    }
    case OpKind::kCas:
      return {state == op.expected ? mix(1, op.argument) : state, state};
    case OpKind::kRead:
      return {state, state};
  }
  return {state, 0};
}

}  // namespace cairn::paxos_sim
