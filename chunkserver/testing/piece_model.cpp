#include "chunkserver/testing/piece_model.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::chunkserver::testing {
namespace {

template <class... Cases>
struct Overload : Cases... {
  using Cases::operator()...;
};

std::string list(const BlockValues& blocks) {
  std::string text;
  for (const auto& [block, value] : blocks) text += fmt::format(" {}={:x}", block, value >> 48);
  return text;
}

}  // namespace

std::string describe(const PieceSight& sight) {
  if (!sight.exists) return "no piece";
  std::string text =
      fmt::format("v{} e{} settled {}.{} undecided {} blocks", sight.version, sight.epoch,
                  sight.settled.first, sight.settled.second, sight.undecided);
  text += list(sight.blocks) + "; ops";
  for (const auto& [op, forwarded] : sight.listed) {
    text += fmt::format(" {}.{}{}", op.first, op.second, forwarded ? "f" : "");
  }
  return text;
}

std::string describe(const ModelCall& call) {
  return std::visit(
      Overload{[](const ModelPrepare& p) {
                 std::string zeroes;
                 for (const std::uint64_t block : p.zeroes) zeroes += fmt::format(" {}", block);
                 return fmt::format("prepare v{} {}.{} below {}{} writes{} deltas{} zeroes{}",
                                    p.version, p.op.first, p.op.second, p.settled_below,
                                    p.create ? " create" : "", list(p.writes), list(p.deltas),
                                    zeroes);
               },
               [](const ModelSettle& s) {
                 return fmt::format("settle {}.{} v{}", s.epoch, s.below, s.version);
               },
               [](const ModelSeal& s) { return fmt::format("seal v{} e{}", s.version, s.epoch); },
               [](const ModelResolve& r) {
                 std::string ops;
                 for (const auto& [epoch, seq] : r.forward) {
                   ops += fmt::format(" {}.{}", epoch, seq);
                 }
                 return fmt::format("resolve v{} e{} forward{}", r.version, r.epoch, ops);
               },
               [](const ModelRemove&) { return std::string("remove"); },
               [](const ModelRead& r) {
                 std::string text = "read";
                 for (const auto& [first, count] : r.ranges) {
                   text += fmt::format(" {}+{}", first, count);
                 }
                 return text;
               }},
      call);
}

std::optional<Code> PieceModel::call(const ModelCall& call) {
  return std::visit([this](const auto& c) { return apply(c); }, call);
}

void PieceModel::put(BlockValues& to, const ModelPrepare& op) {
  for (const auto& [block, value] : op.writes) to[block] = value;
  for (const std::uint64_t block : op.zeroes) to.erase(block);
  for (const auto& [block, value] : op.deltas) to[block] ^= value;
}

void PieceModel::raise_mark(ModelOp mark) {
  settled_ = std::max(settled_, mark);
  while (!pending_.empty() && pending_.begin()->first < settled_) {
    put(base_, pending_.begin()->second);
    pending_.erase(pending_.begin());
  }
  std::erase_if(forwarded_, [this](const ModelOp& op) { return op < settled_; });
}

void PieceModel::take(const ModelPrepare& call) {
  exists_ = true;
  version_ = std::max(version_, call.version);
  epoch_ = std::max(epoch_, call.op.first);
  const std::uint64_t below =
      std::min(std::max<std::uint64_t>(call.settled_below, 1), call.op.second);
  raise_mark({call.op.first, below});
  pending_.emplace(call.op, call);
}

std::optional<Code> PieceModel::apply(const ModelPrepare& call) {
  if (!exists_) {
    if (!call.create || call.version <= removed_version_) return Code::kPieceMissing;
  } else {
    if (call.version < version_) return Code::kStaleVersion;
    if (call.op.first < epoch_) return Code::kStaleEpoch;
    if (call.op < settled_) return std::nullopt;
    if (pending_.contains(call.op) || forwarded_.contains(call.op)) return std::nullopt;
  }
  take(call);
  return std::nullopt;
}

std::optional<Code> PieceModel::apply(const ModelSettle& call) {
  if (!exists_) return Code::kPieceMissing;
  if (call.epoch < epoch_) return Code::kStaleEpoch;
  if (call.epoch == epoch_) raise_mark({call.epoch, call.below});
  version_ = std::max(version_, call.version);
  return std::nullopt;
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
  removed_version_ = removed_at_most_ = version;
  return std::nullopt;
}

std::optional<Code> PieceModel::apply(const ModelRead&) {
  if (!exists_) return Code::kPieceMissing;
  return std::nullopt;
}

void PieceModel::call_after_loss(const ModelCall& lost_behind, std::uint64_t epoch_then) {
  if (const auto* prepare = std::get_if<ModelPrepare>(&lost_behind)) {
    const bool known = exists_ && (prepare->op < settled_ || pending_.contains(prepare->op) ||
                                   forwarded_.contains(prepare->op));
    if (!known) take(*prepare);
    return;
  }
  if (!exists_) return;
  if (const auto* settle = std::get_if<ModelSettle>(&lost_behind)) {
    if (settle->epoch < epoch_) return;
    version_ = std::max(version_, settle->version);
    if (settle->epoch != epoch_then) return;
    epoch_ = settle->epoch;
    raise_mark({settle->epoch, settle->below});
    return;
  }
  const std::optional<Code> refused = call(lost_behind);
  static_cast<void>(refused);
}

BlockValues PieceModel::newest() const {
  BlockValues view = base_;
  for (const auto& [op, prepare] : pending_) put(view, prepare);
  return view;
}

std::map<ModelOp, bool> PieceModel::listed() const {
  std::map<ModelOp, bool> ops;
  for (const ModelOp& op : forwarded_) ops.emplace(op, true);
  for (const auto& [op, prepare] : pending_) ops.emplace(op, false);
  return ops;
}

PieceSight PieceModel::sight() const {
  if (!exists_) return {};
  return {.exists = true,
          .version = version_,
          .epoch = epoch_,
          .settled = settled_,
          .blocks = newest(),
          .listed = listed(),
          .undecided = pending_.size()};
}

std::uint64_t PieceModel::stored_blocks() const {
  std::uint64_t blocks = base_.size();
  for (const auto& [op, prepare] : pending_)
    blocks += prepare.writes.size() + prepare.deltas.size();
  return blocks;
}

}  // namespace cairn::chunkserver::testing
