// What a message must look like before a state believes it: a corrupt or hostile one is dropped, it
// never breaks an invariant. Internal to the core.
#pragma once

#include "mds/paxos/types.h"

namespace cairn::mds::paxos {

// No group lives long enough to reach these; past them numbers could run over.
inline constexpr std::uint64_t kRoundMax = std::uint64_t{1} << 48;
inline constexpr Slot kSlotMax{std::uint64_t{1} << 56};
// No leader proposes so far past what it knows as chosen (Limits::window_slots is far below).
inline constexpr std::uint64_t kSlotsAheadMax = std::uint64_t{1} << 20;

// A record of the log holds so much, with what it says of the value (docs/formats/mds-log.md).
inline constexpr std::size_t kValueBytesMax = (std::size_t{8} << 20) - 1024;

// A value that a state may keep, and its log.
bool is_sound(const Value& value);
bool is_sound(const Message& message);

}  // namespace cairn::mds::paxos
