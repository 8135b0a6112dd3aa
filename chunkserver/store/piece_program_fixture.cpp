#include "chunkserver/store/piece_program_fixture.h"

#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/op_blocks.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {
namespace {

std::uint32_t crc_of(std::uint64_t content) {
  return crc32c(std::as_bytes(std::span(&content, 1)));
}

}  // namespace

// Three lists of ranges that are apart: cuts of a shuffled row of intervals.
std::vector<std::vector<BlockRange>> PieceProgram::pick_ranges() {
  std::vector<std::vector<BlockRange>> lists(3);
  std::uint64_t at = prng_.below(kBlocks);
  if (prng_.chance(500)) at -= at % kSegmentBlocks;
  const std::uint64_t parts = prng_.between(1, 5);
  for (std::uint64_t i = 0; i < parts; ++i) {
    const std::uint64_t longest = prng_.chance(50) ? 300 : 6;
    const std::uint64_t count = prng_.between(1, longest);
    if (at + count > kBlocks) break;
    const std::uint64_t kind = prng_.below(10);
    lists[kind < 5 ? 0 : (kind < 7 ? 1 : 2)].push_back({at, count});
    at += count + prng_.below(4) * prng_.below(4);
  }
  return lists;
}

Payload PieceProgram::bring(std::uint64_t blocks) {
  Payload payload;
  payload.journaled = prng_.chance(500);
  if (blocks == 0) return payload;
  payload.extents = space_.allocate(blocks).value();
  // Homes in any order, as on a drive that is used up.
  if (prng_.chance(300)) prng_.shuffle(std::span(payload.extents));
  HomeCursor home(payload.extents);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t content = prng_.next();
    homes_[home.next()] = content;
    payload.crcs.push_back(crc_of(content));
  }
  return payload;
}

void PieceProgram::decide_below(Piece& piece, OpId mark) {
  for (auto& [id, op] : piece.ops) {
    if (id < mark) op.decided = true;
  }
}

void PieceProgram::see(Piece& piece, ChunkVersion version, bool copy) {
  if (version.raw() >= piece.seen) piece.copy = copy;
  piece.seen = std::max(piece.seen, version.raw());
}

std::optional<Record> PieceProgram::prepare(RowReader& rows, PieceId id) {
  Piece& piece = pieces_[id];
  if (prng_.chance(40)) {
    ++piece.epoch;
    piece.seq = 1;
    piece.late.clear();
  }
  std::uint64_t seq = piece.seq;
  if (!piece.late.empty() && prng_.chance(300)) {
    seq = *piece.late.begin();
    piece.late.erase(piece.late.begin());
  } else {
    ++piece.seq;
    if (prng_.chance(100)) piece.late.insert(piece.seq++);
  }
  PrepareRecord record;
  record.piece = id;
  record.version = ChunkVersion(piece.version);
  record.op = op_id(piece.epoch, seq);
  record.settled_below = OpSeq(seq - std::min(seq, prng_.below(12)));
  record.participants = 3;
  const PieceRow* const row = rows.piece(id).value();
  const FenceState fence = row == nullptr ? FenceState() : row->fence;
  // Some are of a repair.
  record.copy = prng_.chance(100);
  const PrepareTicket ticket{record.version, record.op, record.settled_below, true, record.copy};
  const Result<PrepareVerdict> verdict = check_prepare(fence, ticket);
  if (!verdict.has_value() || *verdict != PrepareVerdict::kTake) return std::nullopt;
  std::vector<std::vector<BlockRange>> ranges = pick_ranges();
  record.writes = ranges[0];
  record.zeroes = ranges[1];
  record.deltas = ranges[2];
  record.payload = bring(total_blocks(record.writes) + total_blocks(record.deltas));
  Op op;
  HomeCursor home(record.payload.extents);
  for (const BlockRange& range : record.writes) {
    for (std::uint64_t b = range.first; b < range.end(); ++b) op.writes[b] = homes_[home.next()];
  }
  op.zeroes = record.zeroes;
  for (const BlockRange& range : record.deltas) {
    for (std::uint64_t b = range.first; b < range.end(); ++b) op.deltas[b] = homes_[home.next()];
  }
  piece.exists = true;
  see(piece, record.version, record.copy);
  decide_below(piece, after_prepare(fence, ticket).settled);
  piece.ops[record.op] = std::move(op);
  return record;
}

std::optional<Record> PieceProgram::settle(RowReader& rows, PieceId id) {
  Piece& piece = pieces_[id];
  const PieceRow* const row = rows.piece(id).value();
  if (row == nullptr) return std::nullopt;
  const OpId below = op_id(piece.epoch, prng_.between(1, piece.seq));
  ChunkVersion version;
  if (prng_.chance(200)) ++piece.version;
  if (prng_.chance(700)) version = ChunkVersion(piece.version);
  const Result<bool> news = check_settle(row->fence, below, version);
  if (!news.has_value() || !*news) return std::nullopt;
  const OpId mark = mark_of_settle(row->fence, below);
  decide_below(piece, mark);
  if (version != ChunkVersion()) see(piece, version, false);
  return SettleRecord{id, mark, version};
}

std::optional<Record> PieceProgram::seal(RowReader& rows, PieceId id) {
  Piece& piece = pieces_[id];
  if (rows.piece(id).value() == nullptr) return std::nullopt;
  piece.seq = 1;
  piece.late.clear();
  const SealRecord record{id, ChunkVersion(++piece.version), LeaseEpoch(++piece.epoch),
                          prng_.chance(300)};
  see(piece, record.version, record.copy);
  return record;
}

std::optional<Record> PieceProgram::resolve(RowReader& rows, PieceId id) {
  Piece& piece = pieces_[id];
  const PieceRow* const row = rows.piece(id).value();
  if (row == nullptr) return std::nullopt;
  ResolveRecord record{id, row->fence.epoch, {}};
  for (auto it = piece.ops.begin(); it != piece.ops.end();) {
    Op& op = it->second;
    const bool open = !op.decided && it->first.epoch < record.epoch;
    if (!open || prng_.chance(600)) {
      record.forward.push_back(it->first);
      if (open) op.decided = true;
      ++it;
    } else {
      it = piece.ops.erase(it);
    }
  }
  return record;
}

std::optional<Record> PieceProgram::remove(PieceId id) {
  Piece& piece = pieces_[id];
  ++piece.version;
  ++piece.epoch;
  piece.seq = 1;
  piece.late.clear();
  piece.ops.clear();
  piece.exists = false;
  piece.seen = 0;
  piece.copy = false;
  return RemoveRecord{id};
}

std::optional<Record> PieceProgram::fold(RowReader& rows, PieceId id) {
  const PieceRow* const row = rows.piece(id).value();
  if (row == nullptr) return std::nullopt;
  const std::optional<FoldPlan> plan = plan_fold(*row);
  if (!plan.has_value()) return std::nullopt;
  FoldRecord record{id, plan->through, plan->blocks, {}};
  record.payload = bring(total_blocks(record.blocks));
  const std::vector<LocatedBlock> blocks =
      locate(rows, id, *row, record.blocks, plan->through).value();
  HomeCursor home(record.payload.extents);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::uint64_t content = content_of(blocks[i]);
    homes_[home.next()] = content;
    record.payload.crcs[i] = crc_of(content);
  }
  return record;
}

std::optional<Record> PieceProgram::heal(RowReader& rows, PieceId id) {
  const PieceRow* const row = rows.piece(id).value();
  if (row == nullptr) return std::nullopt;
  std::vector<BlockRange> blocks = pick_ranges()[0];
  std::erase_if(blocks, [](const BlockRange& range) { return range.count > 20; });
  if (blocks.empty()) return std::nullopt;
  HealRecord record{id, blocks, {}, {}};
  record.payload = bring(total_blocks(blocks));
  HomeCursor home(record.payload.extents);
  const std::vector<LocatedBlock> located = locate(rows, id, *row, blocks).value();
  std::size_t i = 0;
  for (const BlockRange& range : blocks) {
    for (std::uint64_t b = range.first; b < range.end(); ++b, ++i) {
      const std::uint64_t to = home.next();
      const auto at = std::find_if(located.begin(), located.end(),
                                   [b](const LocatedBlock& block) { return block.block == b; });
      BlockPlace old;
      if (at != located.end()) old = at->base;
      // Some were damaged in a state that is gone.
      if (prng_.chance(200)) old.disk = prng_.below(kDiskBlocks);
      record.old_homes.push_back(old.disk);
      record.payload.crcs[i] = old.crc;
      if (homes_.contains(old.disk)) homes_[to] = homes_[old.disk];
    }
  }
  return record;
}

Record PieceProgram::next(RowReader& rows) {
  for (;;) {
    const PieceId id = pick_piece();
    const std::uint64_t dice = prng_.below(1000);
    std::optional<Record> record;
    const char* kind = "prepare";
    if (dice < 500) {
      record = prepare(rows, id);
    } else if (dice < 700) {
      record = settle(rows, id), kind = "settle";
    } else if (dice < 740) {
      record = seal(rows, id), kind = "seal";
    } else if (dice < 790) {
      record = resolve(rows, id), kind = "resolve";
    } else if (dice < 805) {
      record = remove(id), kind = "remove";
    } else if (dice < 920) {
      record = fold(rows, id), kind = "fold";
    } else {
      record = heal(rows, id), kind = "heal";
    }
    if (!record.has_value()) continue;
    ++made_[kind];
    return *record;
  }
}

bool PieceProgram::freed(const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) {
    if (!space_.free(extent).has_value()) return false;
    for (std::uint64_t home = extent.first; home < extent.end(); ++home) homes_.erase(home);
  }
  return true;
}

std::map<std::uint64_t, std::uint64_t> PieceProgram::content(PieceId piece,
                                                             std::optional<OpId> through) const {
  std::map<std::uint64_t, std::uint64_t> content;
  const auto it = pieces_.find(piece);
  if (it == pieces_.end()) return content;
  for (const auto& [id, op] : it->second.ops) {
    if (through.has_value() && id > *through) break;
    for (const auto& [block, value] : op.writes) content[block] = value;
    for (const BlockRange& range : op.zeroes) {
      content.erase(content.lower_bound(range.first), content.lower_bound(range.end()));
    }
    for (const auto& [block, value] : op.deltas) content[block] ^= value;
  }
  return content;
}

std::uint64_t PieceProgram::content_of(const LocatedBlock& block) const {
  std::uint64_t value = 0;
  if (block.base.disk != 0) {
    value = homes_.at(block.base.disk);
    CHECK_EQ(crc_of(value), block.base.crc);
  }
  for (const BlockPlace& delta : block.deltas) {
    CHECK_EQ(crc_of(homes_.at(delta.disk)), delta.crc);
    value ^= homes_.at(delta.disk);
  }
  return value;
}

std::map<std::uint64_t, std::uint64_t> PieceProgram::located(RowReader& rows, PieceId piece,
                                                             std::optional<OpId> through) const {
  std::map<std::uint64_t, std::uint64_t> content;
  const PieceRow* const row = rows.piece(piece).value();
  if (row == nullptr) return content;
  const std::vector<BlockRange> ranges = {{0, 100}, {100, 300}, {400, 1}, {401, kBlocks - 401}};
  const std::vector<LocatedBlock> blocks = locate(rows, piece, *row, ranges, through).value();
  for (const LocatedBlock& block : blocks) content[block.block] = content_of(block);
  CHECK_EQ(content.size(), blocks.size());
  return content;
}

std::set<OpId> PieceProgram::undecided(PieceId piece) const {
  std::set<OpId> open;
  const auto it = pieces_.find(piece);
  if (it == pieces_.end()) return open;
  for (const auto& [id, op] : it->second.ops) {
    if (!op.decided) open.insert(id);
  }
  return open;
}

std::uint64_t PieceProgram::pieces() const {
  std::uint64_t count = 0;
  for (const auto& [id, piece] : pieces_) count += piece.exists ? 1 : 0;
  return count;
}

std::string disagreement(FakeRows& rows, const PieceProgram& program) {
  std::set<std::uint64_t> used;
  std::uint64_t references = 0;
  std::map<PieceId, std::uint64_t> stored;
  for (const auto& [key, segment] : rows.segments) {
    for (std::size_t i = 0; i < kSegmentBlocks; ++i) {
      if (segment.get(i).disk == 0) continue;
      ++stored[key.first];
      used.insert(segment.get(i).disk);
      ++references;
    }
  }
  for (const auto& [id, row] : rows.pieces) {
    if (row.blocks != stored[id]) return fmt::format("{} blocks counted", row.blocks);
    stored.erase(id);
    for (const PendingOp& op : row.pending) {
      HomeCursor home(op.extents);
      for (std::size_t i = 0; i < op.crcs.size(); ++i, ++references) used.insert(home.next());
    }
  }
  for (const auto& [id, blocks] : stored) {
    if (blocks != 0) return "blocks of a piece that is not there";
  }
  if (used.size() != references) return "a block is used twice";
  if (rows.counters().used_blocks != references) return "the counter of used blocks";
  if (rows.counters().pieces != rows.pieces.size()) return "the counter of pieces";
  if (program.space().used_blocks() != references) return "the space map";
  for (std::uint64_t block = 0; block < PieceProgram::kDiskBlocks; ++block) {
    const UsedRegion& region = rows.regions[block / kRegionBlocks];
    if (region.get(block % kRegionBlocks) != used.contains(block)) {
      return fmt::format("the region says otherwise of block {}", block);
    }
  }
  return {};
}

}  // namespace cairn::chunkserver::store
