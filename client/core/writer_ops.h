// What the parts of the writer know of one op on its way. Internal to Writer.
#pragma once

#include <cstdint>
#include <memory>

#include "client/core/writer.h"
#include "common/layout/regions.h"

namespace cairn::client {

struct Writer::Commit {
  InodePtr inode;
  ChunkPtr chunk;
  OpPtr op;
  std::uint64_t serial = 0;  // of the lease
  OpSeq seq;
  PieceMask participants = 0;
  layout::RegionMask regions = 0;
  Instant give_up;  // of a soft mount that waits for pieces
  std::shared_ptr<Event> news;
  Sabotage sabotage;

  // Requires: !gone().
  ChunkState::OpenOp& state() const { return chunk->undecided.at(seq); }
  bool gone() const { return inode->serial != serial; }
  bool decidable() const;
};

// Counts somebody who waits, while it lives.
class Counted {
 public:
  explicit Counted(std::uint64_t* count) : count_(count) {
    if (count_ != nullptr) ++*count_;
  }
  ~Counted() {
    if (count_ != nullptr) --*count_;
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::uint64_t* count_;
};

// Regions that the op changes, at any piece.
layout::RegionMask regions_of(const StripeOp& op, std::uint64_t piece_blocks);

}  // namespace cairn::client
