#include "mds/master/resolver.h"

#include <algorithm>
#include <bit>
#include <map>

namespace cairn::mds::master {

namespace {

// More ops that could end either way than this are not tried in every combination.
constexpr std::size_t kChoicesMax = 8;

// An op with what it means for the pieces that are reachable, by masks.
struct Fate {
  OpName op;
  std::uint32_t lacking = 0;
  std::uint32_t keeping = 0;
  bool settled = false;  // by some piece: it was decided
  bool forward() const { return lacking == 0 || keeping != 0; }
  // It was never acknowledged, and some piece cannot undo it any more.
  bool open() const { return lacking != 0 && keeping != 0 && !settled; }
};

Fate fate_of(const OpName& op, std::uint32_t participants,
             const std::vector<PieceReport>& reachable) {
  Fate fate{.op = op};
  for (const PieceReport& report : reachable) {
    if ((participants >> report.piece & 1U) == 0) continue;
    const PieceReport::Stand stand = report.stand(op);
    if (stand == PieceReport::Stand::kLacks) fate.lacking |= 1U << report.piece;
    if (stand == PieceReport::Stand::kKeeps) fate.keeping |= 1U << report.piece;
    fate.settled = fate.settled || report.settled(op);
  }
  return fate;
}

// `dropped`: which of the open ones are, in their order.
std::uint32_t stale_with(const std::vector<Fate>& fates, std::uint32_t dropped) {
  std::uint32_t stale = 0;
  unsigned open = 0;
  for (const Fate& fate : fates) {
    const bool drop = fate.open() && (dropped >> open++ & 1U) != 0;
    if (fate.forward()) stale |= drop ? fate.keeping : fate.lacking;
  }
  return stale;
}

// Ops to drop so that most pieces stay; the fewest of them.
std::uint32_t best_choice(const std::vector<Fate>& fates) {
  const auto open = static_cast<std::size_t>(
      std::ranges::count_if(fates, [](const Fate& fate) { return fate.open(); }));
  const std::uint32_t choices = 1U << std::min(open, kChoicesMax);
  const auto cost = [&](std::uint32_t dropped) {
    return std::pair(std::popcount(stale_with(fates, dropped)), std::popcount(dropped));
  };
  std::uint32_t best = 0;
  for (std::uint32_t dropped = 1; dropped < choices; ++dropped) {
    if (cost(dropped) < cost(best)) best = dropped;
  }
  return best;
}

}  // namespace

bool PieceReport::settled(const OpName& op) const {
  return op.epoch < settled_epoch || (op.epoch == settled_epoch && op.seq < settled_below);
}

PieceReport::Stand PieceReport::stand(const OpName& op) const {
  if (settled(op)) return Stand::kKeeps;
  for (const Undecided& held : undecided) {
    if (held.op == op) return held.forwarded ? Stand::kKeeps : Stand::kHolds;
  }
  return Stand::kLacks;
}

Result<Resolution> resolve_ops(const std::vector<PieceReport>& reachable, unsigned least) {
  std::map<OpName, std::uint32_t> participants;
  for (const PieceReport& report : reachable) {
    for (const PieceReport::Undecided& held : report.undecided) {
      const auto [at, fresh] = participants.try_emplace(held.op, held.participants);
      const bool takes_part = report.piece < 32 && (held.participants >> report.piece & 1U) != 0;
      if (at->second != held.participants || !takes_part) {
        return fail(Code::kCorrupt, "pieces disagree about who takes part in op " +
                                        std::to_string(held.op.seq) + " of epoch " +
                                        std::to_string(held.op.epoch));
      }
    }
  }
  std::vector<Fate> fates;
  for (const auto& [op, mask] : participants) fates.push_back(fate_of(op, mask, reachable));
  Resolution resolution;
  std::uint32_t dropped = 0;
  resolution.stale = stale_with(fates, dropped);
  const auto stay = [&] {
    return static_cast<unsigned>(std::ranges::count_if(reachable, [&](const PieceReport& report) {
      return (resolution.stale >> report.piece & 1U) == 0;
    }));
  };
  if (stay() < least) {
    dropped = best_choice(fates);
    resolution.stale = stale_with(fates, dropped);
  }
  unsigned open = 0;
  for (const Fate& fate : fates) {
    const bool drop = fate.open() && (dropped >> open++ & 1U) != 0;
    if (fate.forward() && !drop) resolution.forward.push_back(fate.op);
  }
  return resolution;
}

}  // namespace cairn::mds::master
