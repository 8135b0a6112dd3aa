// One line for each thing that travels, for transcripts of a seed; and its hash for comparing runs.
#pragma once

#include <cstdint>
#include <string>

#include "mds/paxos/types.h"

namespace cairn::paxos_sim {

std::string describe(const mds::paxos::Message& message);
std::string describe(const mds::paxos::Record& record);
std::string describe(const mds::paxos::Membership& membership);
std::string describe(const mds::paxos::Value& value);
std::uint64_t hash_of(const mds::paxos::Message& message);

}  // namespace cairn::paxos_sim
