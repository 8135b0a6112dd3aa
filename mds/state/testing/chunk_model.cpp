#include "mds/state/testing/chunk_model.h"

#include <algorithm>

namespace cairn::mds::state::testing {

unsigned ChunkModel::Chunk::live(std::uint32_t without) const {
  unsigned count = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].state != State::kMissing && (without >> i & 1U) == 0) ++count;
  }
  return count;
}

Code ChunkModel::check(Claim claim) const {
  const File& file = files_.at(claim.inode);
  if (file.holder != claim.session) return Code::kLeaseExpired;
  return file.epoch == claim.epoch ? kDone : Code::kStaleEpoch;
}

ChunkModel::Chunk* ChunkModel::at(std::uint64_t inode, std::uint64_t index) {
  for (auto& [id, chunk] : chunks_) {
    if (chunk.inode == inode && chunk.index == index) return &chunk;
  }
  return nullptr;
}

Code ChunkModel::grant(std::uint64_t session, std::uint64_t inode) {
  File& file = files_.at(inode);
  if (file.holder == session) return kDone;
  if (file.holder != 0) return Code::kBusy;
  for (const auto& [id, chunk] : chunks_) {
    if (chunk.inode == inode && chunk.writer != 0) return Code::kBusy;
  }
  file.holder = session;
  file.epoch = next_epoch_++;
  return kDone;
}

Code ChunkModel::release(Claim claim, bool unsettled) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  for (auto& [id, chunk] : chunks_) {
    if (!unsettled && chunk.inode == claim.inode && chunk.writer == claim.epoch) chunk.writer = 0;
  }
  files_.at(claim.inode).holder = 0;
  return kDone;
}

Code ChunkModel::open(Claim claim, std::uint64_t index, std::uint32_t touch,
                      const std::vector<std::uint32_t>& places) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  const File& file = files_.at(claim.inode);
  Chunk* chunk = at(claim.inode, index);
  if (chunk == nullptr) {
    Chunk fresh{.inode = claim.inode, .index = index, .pieces = {}};
    for (const std::uint32_t cs : places) {
      fresh.pieces.push_back(cs != 0 ? Piece{.cs = cs}
                                     : Piece{.state = State::kMissing, .missed = UINT64_MAX});
    }
    if (fresh.live() < std::max(file.min, file.data)) return Code::kNoSpace;
    chunk = &(chunks_[next_chunk_++] = fresh);
  } else if (chunk->writer == 0) {
    if (chunk->has_missing()) ++chunk->version;
  } else if (chunk->writer != claim.epoch) {
    return Code::kBusy;
  }
  chunk->writer = claim.epoch;
  for (std::size_t i = 0; i < chunk->pieces.size(); ++i) {
    Piece& piece = chunk->pieces[i];
    if ((touch >> i & 1U) != 0 && piece.state == State::kUnwritten) piece.state = State::kCurrent;
  }
  return kDone;
}

void ChunkModel::lose(Chunk& chunk, std::uint32_t mask, std::uint64_t regions) {
  for (std::size_t i = 0; i < chunk.pieces.size(); ++i) {
    Piece& piece = chunk.pieces[i];
    if ((mask >> i & 1U) != 0 && piece.state == State::kUnwritten) piece.missed = UINT64_MAX;
    if ((mask >> i & 1U) != 0) piece.state = State::kMissing;
    if (piece.state == State::kMissing) piece.missed |= regions;
  }
}

Code ChunkModel::drop(Claim claim, const Drop& drop) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  const auto it = chunks_.find(drop.chunk);
  if (it == chunks_.end() || it->second.inode != claim.inode) return Code::kNotFound;
  Chunk& chunk = it->second;
  if (chunk.writer != claim.epoch) return Code::kStaleEpoch;
  const bool drops = chunk.live(drop.pieces) < chunk.live();
  if (drops && drop.version != chunk.version) return Code::kStaleVersion;
  if (drop.pieces == 0 && drop.version < chunk.version) return Code::kStaleVersion;
  if (chunk.live(drop.pieces) < files_.at(claim.inode).data) return Code::kTooFewPieces;
  lose(chunk, drop.pieces, drops && drop.regions == 0 ? UINT64_MAX : drop.regions);
  if (drops) ++chunk.version;
  return kDone;
}

Code ChunkModel::close(Claim claim, std::uint64_t id, std::uint64_t next_seq) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  const auto it = chunks_.find(id);
  if (it == chunks_.end() || it->second.inode != claim.inode) return Code::kNotFound;
  Chunk& chunk = it->second;
  if (chunk.writer != 0 && chunk.writer != claim.epoch) return Code::kStaleEpoch;
  chunk.writer = 0;
  chunk.floor = std::max(chunk.floor, next_seq);
  return kDone;
}

Code ChunkModel::begin_recovery(std::uint64_t id) {
  const auto it = chunks_.find(id);
  if (it == chunks_.end()) return Code::kNotFound;
  if (it->second.writer == 0) return Code::kInvalidArgument;
  files_.at(it->second.inode).epoch = next_epoch_++;
  ++it->second.version;
  return kDone;
}

Code ChunkModel::finish_recovery(const Drop& drop) {
  const auto it = chunks_.find(drop.chunk);
  if (it == chunks_.end()) return Code::kNotFound;
  Chunk& chunk = it->second;
  if (chunk.version != drop.version) return Code::kStaleVersion;
  if (chunk.writer == 0) return kDone;
  const File& file = files_.at(chunk.inode);
  if (file.epoch == chunk.writer) return Code::kInvalidArgument;
  std::uint32_t lost = 0;
  for (std::size_t i = 0; i < chunk.pieces.size(); ++i) {
    const bool current = chunk.pieces[i].state == State::kCurrent;
    if (current && (drop.pieces >> i & 1U) != 0) lost |= 1U << i;
  }
  if (chunk.live(lost) < file.data) return Code::kTooFewPieces;
  lose(chunk, lost, drop.regions);
  if (lost != 0) ++chunk.version;
  chunk.writer = 0;
  return kDone;
}

bool ChunkModel::occupied(std::uint64_t id, const Chunk& chunk, std::uint32_t cs) const {
  for (unsigned i = 0; i < chunk.pieces.size(); ++i) {
    if (chunk.pieces[i].cs == cs || removals_.contains({cs, id, i})) return true;
  }
  return false;
}

Code ChunkModel::place(const Repair& repair) {
  const auto it = chunks_.find(repair.chunk);
  if (it == chunks_.end()) return Code::kNotFound;
  Chunk& chunk = it->second;
  if (chunk.version != repair.version) return Code::kStaleVersion;
  Piece& piece = chunk.pieces.at(repair.piece);
  if (piece.state != State::kMissing) return Code::kRefusedForSafety;
  const bool stays = piece.cs == repair.cs;
  if (!stays && occupied(it->first, chunk, repair.cs)) return Code::kRefusedForSafety;
  ++chunk.version;
  if (stays) return kDone;
  if (piece.cs != 0) removals_[{piece.cs, it->first, repair.piece}] = chunk.version;
  piece.cs = repair.cs;
  piece.missed = UINT64_MAX;
  return kDone;
}

Code ChunkModel::finish_repair(const Repair& repair) {
  const auto it = chunks_.find(repair.chunk);
  if (it == chunks_.end()) return Code::kNotFound;
  Chunk& chunk = it->second;
  if (chunk.version != repair.version) return Code::kStaleVersion;
  if (chunk.writer != 0) return Code::kBusy;
  Piece& piece = chunk.pieces.at(repair.piece);
  if (piece.state != State::kMissing || piece.cs != repair.cs) return Code::kRefusedForSafety;
  piece.state = State::kCurrent;
  piece.missed = 0;
  ++chunk.version;
  chunk.floor = std::max(chunk.floor, repair.next_seq);
  return kDone;
}

void ChunkModel::removed(std::uint32_t cs, std::uint64_t chunk, unsigned piece,
                         std::uint64_t version) {
  const auto it = removals_.find({cs, chunk, piece});
  if (it == removals_.end()) return;
  if (version == 0 || (it->second != 0 && version >= it->second)) removals_.erase(it);
}

Code ChunkModel::truncate(Claim claim) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  for (auto it = chunks_.begin(); it != chunks_.end();) {
    if (it->second.inode != claim.inode) {
      ++it;
      continue;
    }
    for (unsigned i = 0; i < it->second.pieces.size(); ++i) {
      const Piece& piece = it->second.pieces[i];
      if (piece.cs != 0 && piece.state != State::kUnwritten) {
        removals_[{piece.cs, it->first, i}] = 0;
      }
    }
    it = chunks_.erase(it);
  }
  return kDone;
}

}  // namespace cairn::mds::state::testing
