#include "chunkserver/testing/piece_model.h"

#include <algorithm>

namespace cairn::chunkserver::testing {

std::optional<Code> PieceModel::call(const ModelCall& call) {
  return std::visit([this](const auto& c) { return apply(c); }, call);
}

void PieceModel::put(std::map<std::uint64_t, std::uint64_t>& to, const ModelPrepare& op) {
  for (const auto& [block, value] : op.writes) to[block] = value;
  for (const std::uint64_t block : op.zeroes) to.erase(block);
}

void PieceModel::raise_mark(Op mark) {
  settled_ = std::max(settled_, mark);
  while (!pending_.empty() && pending_.begin()->first < settled_) {
    put(base_, pending_.begin()->second);
    pending_.erase(pending_.begin());
  }
  std::erase_if(forwarded_, [this](const Op& op) { return op < settled_; });
}

std::optional<Code> PieceModel::apply(const ModelPrepare& call) {
  if (!exists_) {
    if (!call.create || call.version <= removed_version_) return Code::kPieceMissing;
    exists_ = true;
  } else {
    if (call.version < version_) return Code::kStaleVersion;
    if (call.op.first < epoch_) return Code::kStaleEpoch;
    if (call.op < settled_) return std::nullopt;
    if (pending_.contains(call.op) || forwarded_.contains(call.op)) return std::nullopt;
  }
  version_ = std::max(version_, call.version);
  epoch_ = std::max(epoch_, call.op.first);
  const std::uint64_t below =
      std::min(std::max<std::uint64_t>(call.settled_below, 1), call.op.second);
  raise_mark({call.op.first, below});
  pending_.emplace(call.op, call);
  return std::nullopt;
}

std::optional<Code> PieceModel::apply(const ModelSettle& call) {
  if (!exists_) return Code::kPieceMissing;
  if (call.epoch < epoch_) return Code::kStaleEpoch;
  if (call.epoch == epoch_) raise_mark({call.epoch, call.below});
  return std::nullopt;
}

void PieceModel::settle_after_loss(const ModelSettle& call) {
  if (!exists_ || call.epoch < epoch_) return;
  epoch_ = call.epoch;
  raise_mark({call.epoch, call.below});
}

std::optional<Code> PieceModel::apply(const ModelSeal& call) {
  if (!exists_) return Code::kPieceMissing;
  if (call.version < version_) return Code::kStaleVersion;
  if (call.epoch < epoch_) return Code::kStaleEpoch;
  version_ = call.version;
  epoch_ = call.epoch;
  return std::nullopt;
}

std::optional<Code> PieceModel::apply(const ModelResolve& call) {
  if (!exists_) return Code::kPieceMissing;
  if (call.version < version_) return Code::kStaleVersion;
  if (call.epoch < epoch_) return Code::kStaleEpoch;
  if (call.version > version_ || call.epoch > epoch_) return Code::kRefusedForSafety;
  for (auto it = pending_.begin(); it != pending_.end() && it->first.first < call.epoch;) {
    if (call.forward.contains(it->first)) {
      put(base_, it->second);
      forwarded_.insert(it->first);
    }
    it = pending_.erase(it);
  }
  return std::nullopt;
}

std::optional<Code> PieceModel::apply(const ModelRemove&) {
  if (!exists_) return std::nullopt;
  const std::uint64_t version = version_;
  *this = PieceModel();
  removed_version_ = version;
  return std::nullopt;
}

std::map<std::uint64_t, std::uint64_t> PieceModel::newest() const {
  std::map<std::uint64_t, std::uint64_t> view = base_;
  for (const auto& [op, prepare] : pending_) put(view, prepare);
  return view;
}

std::set<PieceModel::Op> PieceModel::listed() const {
  std::set<Op> ops = forwarded_;
  for (const auto& [op, prepare] : pending_) ops.insert(op);
  return ops;
}

}  // namespace cairn::chunkserver::testing
