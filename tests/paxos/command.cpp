#include "tests/paxos/command.h"

#include <array>

namespace cairn::paxos_sim {

namespace {
constexpr std::size_t kFields = 6;
}

std::string encode(const Command& command) {
  const std::array<std::uint64_t, kFields> fields = {
      command.session,     command.seq,
      command.key,         static_cast<std::uint64_t>(command.op.kind),
      command.op.argument, command.op.expected};
  std::string bytes;
  bytes.reserve(kFields * 8 + command.padding);
  for (const std::uint64_t field : fields) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
      bytes.push_back(static_cast<char>(field >> shift & 0xff));
    }
  }
  bytes.append(command.padding, '.');
  return bytes;
}

std::optional<Command> decode(std::string_view bytes) {
  if (bytes.size() < kFields * 8) return std::nullopt;
  std::array<std::uint64_t, kFields> fields{};
  for (std::size_t i = 0; i < kFields * 8; ++i) {
    fields[i / 8] |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (i % 8 * 8);
  }
  if (fields[3] < 1 || fields[3] > 4) return std::nullopt;
  return Command{
      .session = fields[0],
      .seq = fields[1],
      .key = static_cast<std::uint32_t>(fields[2]),
      .op = {.kind = static_cast<OpKind>(fields[3]), .argument = fields[4], .expected = fields[5]},
      .padding = static_cast<std::uint32_t>(bytes.size() - kFields * 8)};
}

std::uint64_t hash_of(const paxos::Value& value) {
  CHECK(value.bytes != nullptr);
  return mix(hash_bytes(*value.bytes), static_cast<std::uint64_t>(value.kind));
}

}  // namespace cairn::paxos_sim
