// Disks: pieces as chunk servers keep them, as plainly as the data path needs it: a piece is one
// number for each of a few regions, the id of the op that wrote it last. For tests of the state
// machine's part of the data path (docs/protocols/data-path.md).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "proto/types.pb.h"

namespace cairn::mds::state::testing {

// Regions that tests write: the first bits of the masks.
inline constexpr unsigned kTestRegions = 6;
using Content = std::array<std::uint64_t, kTestRegions>;

inline std::uint32_t bit(unsigned piece) { return 1U << piece; }
// The pieces of the chunk that are in this state.
inline std::uint32_t mask(const pb::Chunk& chunk, pb::PieceState state) {
  std::uint32_t found = 0;
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() == state) found |= bit(piece.index());
  }
  return found;
}

struct Op {
  std::uint64_t epoch = 0;
  std::uint64_t seq = 0;
  std::uint64_t id = 0;
  std::uint64_t regions = 0;
  std::uint32_t participants = 0;

  std::pair<std::uint64_t, std::uint64_t> order() const { return {epoch, seq}; }
};

inline void put(Content& content, const Op& op) {
  for (unsigned r = 0; r < kTestRegions; ++r) {
    if ((op.regions >> r & 1U) != 0) content[r] = op.id;
  }
}

// What one CS has of one piece.
struct Disk {
  std::uint64_t version = 0;  // newest seen
  std::uint64_t epoch = 0;
  Content base{};
  std::vector<Op> undecided;                              // in order
  std::vector<Op> forwarded;                              // by a Resolve: cannot be undone
  std::pair<std::uint64_t, std::uint64_t> settled{0, 0};  // all before is

  // What a reader gets.
  Content newest() const {
    Content content = base;
    for (const Op& op : undecided) put(content, op);
    return content;
  }
  bool holds(const Op& op) const {
    const auto same = [&](const Op& other) { return other.id == op.id; };
    return std::ranges::any_of(undecided, same) || cannot_undo(op);
  }
  bool cannot_undo(const Op& op) const {
    return op.order() < settled ||
           std::ranges::any_of(forwarded, [&](const Op& other) { return other.id == op.id; });
  }
  void settle(std::pair<std::uint64_t, std::uint64_t> below) {
    settled = std::max(settled, below);
    std::erase_if(undecided, [&](const Op& op) {
      if (op.order() < below) put(base, op);
      return op.order() < below;
    });
  }
  // False: it is refused.
  bool prepare(std::uint64_t at_version, const Op& op) {
    if (at_version < version || op.epoch < epoch) return false;
    if (op.epoch > epoch) forwarded.clear();
    version = at_version;
    epoch = op.epoch;
    settle({op.epoch, 0});
    if (!holds(op)) undecided.push_back(op);
    return true;
  }
  void seal(std::uint64_t at_version, std::uint64_t at_epoch) {
    version = std::max(version, at_version);
    epoch = std::max(epoch, at_epoch);
  }
  void resolve(const std::vector<Op>& forward) {
    for (const Op& op : undecided) {
      if (std::ranges::none_of(forward, [&](const Op& o) { return o.id == op.id; })) continue;
      put(base, op);
      forwarded.push_back(op);
    }
    undecided.clear();
  }
};

// By (cs, chunk): a CS has one piece of a chunk at most.
using Disks = std::map<std::pair<std::uint32_t, std::uint64_t>, Disk>;

}  // namespace cairn::mds::state::testing
