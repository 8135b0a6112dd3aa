// Planner: where the pieces of a new chunk go. Pure: a snapshot of the chunk servers and a seed in,
// places and reasons out.
//
// Promises: at most one piece per failure domain (strict); only active CSs with room; the wanted
//           tier first, then lower, then higher tiers; random, weighted by free space; the same
//           inputs and seed give the same places. Fewer places than pieces when there are too few
//           domains, never a domain twice. Every CS that got no piece has a reason. Racks, rows and
//           rooms are not known yet: these levels are treated as hosts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/units.h"

namespace cairn::mds::placement {

struct Candidate {
  NodeId cs;
  HostId host;
  std::uint32_t tier = 0;
  bool active = false;
  ByteCount free_bytes = 0;
  ByteCount space_bytes = 0;
  std::uint64_t pieces = 0;
};

enum class Domain : std::uint8_t { kDisk, kHost };

struct Request {
  unsigned pieces = 0;
  unsigned min = 0;  // fewer places than this are no plan
  std::uint32_t tier = 0;
  Domain domain = Domain::kHost;
  ByteCount piece_bytes = 0;  // room that a piece is expected to need
  std::uint64_t seed = 0;
};

enum class Refusal : std::uint8_t { kInactive, kFull, kDomainTaken, kNotNeeded };
std::string_view refusal_text(Refusal refusal);

struct Refused {
  NodeId cs;
  Refusal why = Refusal::kNotNeeded;
};

struct Plan {
  std::vector<NodeId> places;  // piece i goes to places[i]
  std::vector<Refused> refused;
  bool enough(const Request& request) const { return places.size() >= request.min; }
  // "3 failure domains of 4 needed: 2 CSs are not active, 1 is full". For people.
  std::string explain(const Request& request) const;
};

// Space that is never given to new pieces: 5 % and, from 10 GiB on, at least 512 MiB.
ByteCount reserve_bytes(ByteCount space_bytes);

// Room for a piece of `piece_bytes` beside the reserve.
bool has_room(const Candidate& candidate, ByteCount piece_bytes);
// Two candidates with the same answer fail together.
std::uint64_t domain_of(const Candidate& candidate, Domain domain);

Plan plan(const std::vector<Candidate>& candidates, const Request& request);

}  // namespace cairn::mds::placement
