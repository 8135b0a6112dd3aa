// What clients ask for, as the bytes of a kCommand value.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mds/paxos/types.h"
#include "tests/paxos/register.h"

namespace cairn::paxos_sim {

namespace paxos = mds::paxos;

struct Command {
  std::uint64_t session = 0;
  std::uint64_t seq = 0;
  std::uint32_t key = 0;
  RegisterOp op;
  std::uint32_t padding = 0;  // bytes without a meaning, so that windows and batches fill
};

std::string encode(const Command& command);
std::optional<Command> decode(std::string_view bytes);

std::uint64_t hash_of(const paxos::Value& value);

}  // namespace cairn::paxos_sim
