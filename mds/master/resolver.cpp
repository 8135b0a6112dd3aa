#include "mds/master/resolver.h"

#include <map>

namespace cairn::mds::master {

bool PieceReport::has(const OpName& op) const {
  if (op.epoch < settled_epoch) return true;
  if (op.epoch == settled_epoch && op.seq < settled_below) return true;
  for (const Undecided& held : undecided) {
    if (held.op == op) return true;
  }
  return false;
}

Result<std::vector<OpName>> ops_to_forward(const std::vector<PieceReport>& reachable) {
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
  std::vector<OpName> forward;
  for (const auto& [op, mask] : participants) {
    bool all_have_it = true;
    for (const PieceReport& report : reachable) {
      if ((mask >> report.piece & 1U) != 0 && !report.has(op)) all_have_it = false;
    }
    if (all_have_it) forward.push_back(op);
  }
  return forward;
}

}  // namespace cairn::mds::master
