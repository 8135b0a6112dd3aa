#include "mds/master/resolver.h"

#include <map>

namespace cairn::mds::master {

PieceReport::Stand PieceReport::stand(const OpName& op) const {
  if (op.epoch < settled_epoch) return Stand::kKeeps;
  if (op.epoch == settled_epoch && op.seq < settled_below) return Stand::kKeeps;
  for (const Undecided& held : undecided) {
    if (held.op == op) return held.forwarded ? Stand::kKeeps : Stand::kHolds;
  }
  return Stand::kLacks;
}

Result<Resolution> resolve_ops(const std::vector<PieceReport>& reachable) {
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
  Resolution resolution;
  for (const auto& [op, mask] : participants) {
    std::uint32_t lacking = 0;
    bool kept = false;
    for (const PieceReport& report : reachable) {
      if ((mask >> report.piece & 1U) == 0) continue;
      const PieceReport::Stand stand = report.stand(op);
      if (stand == PieceReport::Stand::kLacks) lacking |= 1U << report.piece;
      if (stand == PieceReport::Stand::kKeeps) kept = true;
    }
    if (lacking != 0 && !kept) continue;
    resolution.forward.push_back(op);
    resolution.stale |= lacking;
  }
  return resolution;
}

}  // namespace cairn::mds::master
