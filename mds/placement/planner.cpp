#include "mds/placement/planner.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "common/base/prng.h"

namespace cairn::mds::placement {

namespace {

ByteCount usable_bytes(const Candidate& candidate) {
  const ByteCount reserve = reserve_bytes(candidate.space_bytes);
  return candidate.free_bytes > reserve ? candidate.free_bytes - reserve : 0;
}

// MiB, at least 1: weights of many petabytes still sum up within 64 bits.
std::uint64_t weight_of(const Candidate& candidate) {
  return std::max<std::uint64_t>(usable_bytes(candidate) / 1_MiB, 1);
}

// The wanted tier, then lower ones downwards, then higher ones upwards.
std::vector<std::uint32_t> tier_order(const std::vector<Candidate>& candidates,
                                      std::uint32_t wanted) {
  std::set<std::uint32_t> tiers;
  for (const Candidate& candidate : candidates) tiers.insert(candidate.tier);
  std::vector<std::uint32_t> order;
  if (tiers.contains(wanted)) order.push_back(wanted);
  for (auto tier = tiers.rbegin(); tier != tiers.rend(); ++tier) {
    if (*tier < wanted) order.push_back(*tier);
  }
  for (const std::uint32_t tier : tiers) {
    if (tier > wanted) order.push_back(tier);
  }
  return order;
}

using Domains = std::map<std::uint64_t, std::vector<const Candidate*>>;

std::uint64_t weight_of(const std::vector<const Candidate*>& members) {
  std::uint64_t sum = 0;
  for (const Candidate* member : members) sum += weight_of(*member);
  return sum;
}

// A domain by weight, then a CS of it by weight.
Domains::iterator pick_domain(Domains& domains, Prng& prng) {
  std::uint64_t total = 0;
  for (const auto& [id, members] : domains) total += weight_of(members);
  std::uint64_t ticket = prng.below(total);
  auto domain = domains.begin();
  for (; ticket >= weight_of(domain->second); ++domain) ticket -= weight_of(domain->second);
  return domain;
}

NodeId pick_member(const std::vector<const Candidate*>& members, Prng& prng) {
  std::uint64_t ticket = prng.below(weight_of(members));
  std::size_t at = 0;
  for (; ticket >= weight_of(*members[at]); ++at) ticket -= weight_of(*members[at]);
  return members[at]->cs;
}

}  // namespace

std::string_view refusal_text(Refusal refusal) {
  switch (refusal) {
    case Refusal::kInactive:
      return "not active";
    case Refusal::kFull:
      return "full";
    case Refusal::kDomainTaken:
      return "in a failure domain that has a piece already";
    case Refusal::kNotNeeded:
      return "not needed";
  }
  return "unknown";
}

ByteCount reserve_bytes(ByteCount space_bytes) {
  const ByteCount share = space_bytes / 20;
  return space_bytes < 10_GiB ? share : std::max(share, 512_MiB);
}

bool has_room(const Candidate& candidate, ByteCount piece_bytes) {
  const ByteCount usable = usable_bytes(candidate);
  return usable > 0 && usable >= piece_bytes;
}

std::uint64_t domain_of(const Candidate& candidate, Domain domain) {
  return domain == Domain::kDisk ? candidate.cs.raw() : candidate.host.raw();
}

Plan plan(const std::vector<Candidate>& candidates, const Request& request) {
  Plan plan;
  Prng prng(request.seed);
  std::set<std::uint64_t> taken;
  std::set<NodeId> chosen;
  for (const std::uint32_t tier : tier_order(candidates, request.tier)) {
    Domains domains;
    for (const Candidate& candidate : candidates) {
      const bool fits = candidate.active && has_room(candidate, request.piece_bytes);
      const std::uint64_t domain = domain_of(candidate, request.domain);
      if (candidate.tier != tier || !fits || taken.contains(domain)) continue;
      domains[domain].push_back(&candidate);
    }
    while (plan.places.size() < request.pieces && !domains.empty()) {
      const auto domain = pick_domain(domains, prng);
      const NodeId cs = pick_member(domain->second, prng);
      plan.places.push_back(cs);
      chosen.insert(cs);
      taken.insert(domain->first);
      domains.erase(domain);
    }
  }
  for (const Candidate& candidate : candidates) {
    if (chosen.contains(candidate.cs)) continue;
    Refusal why = Refusal::kNotNeeded;
    if (!candidate.active) {
      why = Refusal::kInactive;
    } else if (!has_room(candidate, request.piece_bytes)) {
      why = Refusal::kFull;
    } else if (taken.contains(domain_of(candidate, request.domain))) {
      why = Refusal::kDomainTaken;
    }
    plan.refused.push_back(Refused{.cs = candidate.cs, .why = why});
  }
  return plan;
}

std::string Plan::explain(const Request& request) const {
  std::array<std::size_t, 4> counts{};
  for (const Refused& r : refused) ++counts[static_cast<std::size_t>(r.why)];
  std::string text = std::to_string(places.size()) + " of " + std::to_string(request.pieces) +
                     " pieces have a place, " + std::to_string(request.min) + " are needed";
  const char* separator = ": ";
  for (const Refusal why : {Refusal::kInactive, Refusal::kFull, Refusal::kDomainTaken}) {
    const std::size_t count = counts[static_cast<std::size_t>(why)];
    if (count == 0) continue;
    text += separator + std::to_string(count) + (count == 1 ? " CS is " : " CSs are ");
    text += refusal_text(why);
    separator = ", ";
  }
  if (refused.empty() && places.size() < request.pieces) text += ": there are no more CSs";
  return text;
}

}  // namespace cairn::mds::placement
