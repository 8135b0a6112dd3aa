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
  const auto file = files_.find(claim.inode);
  if (file == files_.end()) return Code::kNotFound;
  if (file->second.holder != claim.session) return Code::kLeaseExpired;
  return file->second.epoch == claim.epoch ? kDone : Code::kStaleEpoch;
}

ChunkModel::Chunk* ChunkModel::at(std::uint64_t inode, std::uint64_t index) {
  for (auto& [id, chunk] : chunks_) {
    if (chunk.inode == inode && chunk.index == index) return &chunk;
  }
  return nullptr;
}

bool ChunkModel::has_open(std::uint64_t inode) const {
  return std::ranges::any_of(chunks_, [&](const auto& entry) {
    return entry.second.inode == inode && entry.second.writer != 0;
  });
}

std::uint64_t ChunkModel::chunk_count(std::uint64_t inode) const {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      chunks_, [&](const auto& entry) { return entry.second.inode == inode; }));
}

void ChunkModel::unlink(std::uint64_t inode) {
  files_.at(inode).named = false;
  files_.at(inode).wanted.reset();
}

Code ChunkModel::purge(std::uint64_t inode, std::size_t chunks) {
  const auto it = files_.find(inode);
  if (it == files_.end()) return kDone;
  if (it->second.named) return Code::kRefusedForSafety;
  it->second.holder = 0;
  it->second.shadow_of = 0;
  std::map<std::uint64_t, std::uint64_t> by_index;
  for (const auto& [id, chunk] : chunks_) {
    if (chunk.inode == inode) by_index[chunk.index] = id;
  }
  for (const auto& [index, id] : by_index) {
    if (chunks-- == 0) return Code::kBusy;
    remove(id);
  }
  files_.erase(it);
  return kDone;
}

Code ChunkModel::commit(Claim claim, std::uint64_t size) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  std::uint64_t& present = files_.at(claim.inode).size;
  present = std::max(present, size);
  return kDone;
}

Code ChunkModel::grant(std::uint64_t session, std::uint64_t inode) {
  if (!files_.contains(inode)) return Code::kNotFound;
  File& file = files_.at(inode);
  if (file.holder == session) return kDone;
  if (file.holder != 0 || has_open(inode)) return Code::kBusy;
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
  File& file = files_.at(claim.inode);
  Chunk* chunk = at(claim.inode, index);
  if (chunk == nullptr) {
    const Coding& coding = file.coding();
    Chunk fresh{.inode = claim.inode, .index = index, .pieces = {}};
    for (const std::uint32_t cs : places) {
      fresh.pieces.push_back(cs != 0 ? Piece{.cs = cs}
                                     : Piece{.state = State::kMissing, .missed = UINT64_MAX});
    }
    if (fresh.live() < std::max(coding.min, coding.data)) return Code::kNoSpace;
    chunk = &(chunks_[next_chunk_++] = fresh);
    file.layout = coding;
  } else if (chunk->writer == 0) {
    if (chunk->has_missing()) ++chunk->version;
  } else if (chunk->writer != claim.epoch) {
    return Code::kBusy;
  }
  if (chunk->writer == 0) ++chunk->opened;
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
  if (chunk.live(drop.pieces) < files_.at(claim.inode).coding().data) return Code::kTooFewPieces;
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
  if (chunk.live(lost) < file.coding().data) return Code::kTooFewPieces;
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

void ChunkModel::remove(std::uint64_t id) {
  const Chunk& chunk = chunks_.at(id);
  for (unsigned i = 0; i < chunk.pieces.size(); ++i) {
    const Piece& piece = chunk.pieces[i];
    if (piece.cs != 0 && piece.state != State::kUnwritten) removals_[{piece.cs, id, i}] = 0;
  }
  chunks_.erase(id);
}

Code ChunkModel::truncate(Claim claim, std::uint64_t size) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  for (auto it = chunks_.begin(); it != chunks_.end();) {
    const std::uint64_t id = it->first;
    const bool goes = it->second.inode == claim.inode;
    ++it;
    if (goes) remove(id);
  }
  files_.at(claim.inode).size = size;
  return kDone;
}

ChunkModel::Queued ChunkModel::set_policy(std::uint64_t inode, Coding to, bool keep_data) {
  const auto it = files_.find(inode);
  if (it == files_.end() || it->second.shadow_of != 0) return {};
  File& file = it->second;
  Queued queued{.changed = file.policy == to ? 0U : 1U};
  file.policy = to;
  file.wanted.reset();
  if (!file.layout || *file.layout == to) return queued;
  if (keep_data || !file.named) {
    queued.keep = 1;
  } else {
    queued.converting = 1;
    file.wanted = to;
  }
  return queued;
}

Code ChunkModel::make_shadow(std::uint64_t session, std::uint64_t inode, std::uint64_t shadow) {
  const auto it = files_.find(inode);
  if (it == files_.end() || !it->second.wanted) return Code::kNotFound;
  files_[shadow] = File{.policy = *it->second.wanted,
                        .layout = {},
                        .wanted = {},
                        .holder = session,
                        .epoch = next_epoch_++,
                        .shadow_of = inode,
                        .named = false};
  return kDone;
}

Code ChunkModel::swap(Claim claim, std::uint64_t shadow_id) {
  if (const Code refused = check(claim); refused != kDone) return refused;
  if (!files_.contains(shadow_id)) return Code::kNotFound;
  File& source = files_.at(claim.inode);
  File& shadow = files_.at(shadow_id);
  if (!source.wanted) return Code::kNotFound;
  if (shadow.shadow_of != claim.inode) return Code::kInvalidArgument;
  if (shadow.coding() != *source.wanted) return Code::kInvalidArgument;
  if (shadow.size != source.size) return Code::kInvalidArgument;
  if (shadow.holder != 0 || has_open(claim.inode) || has_open(shadow_id)) return Code::kBusy;
  for (const auto& [id, chunk] : chunks_) {
    if (chunk.inode == shadow_id && chunk.has_missing()) return Code::kBusy;
  }
  for (auto& [id, chunk] : chunks_) {
    if (chunk.inode == claim.inode) {
      chunk.inode = shadow_id;
    } else if (chunk.inode == shadow_id) {
      chunk.inode = claim.inode;
    }
  }
  std::swap(source.layout, shadow.layout);
  source.wanted.reset();
  shadow.shadow_of = 0;
  return kDone;
}

}  // namespace cairn::mds::state::testing
