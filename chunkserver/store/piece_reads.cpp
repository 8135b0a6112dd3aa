// The reading half of PieceStore: layers of a block, from the ring, from home, and what is damaged.
#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/piece_store.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {

// One block to be brought into memory.
struct PieceStore::Fetch {
  std::uint64_t block = 0;  // of the piece, for people
  BlockPlace place;
  MutableBytes into;
  bool merged = false;  // with other layers: its CRC does not reach the reader
  Status status;
};

namespace {

void add_onto(MutableBytes to, Bytes delta) {
  auto* const out = reinterpret_cast<std::uint64_t*>(to.data());
  const auto* const in = reinterpret_cast<const std::uint64_t*>(delta.data());
  for (std::size_t i = 0; i < to.size() / sizeof *out; ++i) out[i] ^= in[i];
}

}  // namespace

Task<Result<ReadAnswer>> PieceStore::read(PieceId piece, std::vector<BlockRange> ranges,
                                          bool verify) {
  const std::uint64_t blocks = total_blocks(ranges);
  if (blocks > kReadBlocksMax)
    co_return fail(Code::kInvalidArgument, "too many blocks in one read");
  const ByteCount bytes = std::max<ByteCount>(blocks * kBlockBytes, kBlockBytes);
  runtime::Semaphore::Permit permit;
  while (!permit.held()) {
    CO_TRY_VOID(usable());
    permit = co_await read_budget_.acquire_until(bytes, runtime_.after(kFenceLook));
  }
  CO_TRY_VOID(usable());
  CO_TRY(Content content, co_await read_content(piece, std::move(ranges), std::nullopt, verify));
  CO_TRY_VOID(usable());
  co_return ReadAnswer{std::move(content.present), std::move(content.crcs),
                       std::move(content.bytes)};
}

Task<Result<PieceStore::Content>> PieceStore::read_content(PieceId piece,
                                                           std::vector<BlockRange> ranges,
                                                           std::optional<OpId> through,
                                                           bool verify) {
  if (!table_->has(piece, ranges)) {
    std::vector<BlockRange> missing = ranges;
    CO_TRY_VOID(co_await load(piece, std::move(missing)));
  }
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "there is no such piece here");
  CO_TRY(std::vector<LocatedBlock> blocks, locate(*table_, piece, *row, ranges, through));
  // Blocks that are freed from now on stay as they are until this read has ended.
  const ReuseGate::Ticket ticket = gate_.begin_read();
  Result<Content> content = Content();
  if (!through.has_value() && is_run_at_home(blocks)) {
    content = co_await read_run(piece, std::move(blocks), verify);
  } else {
    content = co_await read_located(piece, std::move(blocks), through, verify);
  }
  gate_.end_read(ticket);
  if (release_freed()) progress_.notify_all();
  co_return content;
}

bool PieceStore::is_run_at_home(const std::vector<LocatedBlock>& blocks) const {
  if (blocks.empty()) return false;
  const std::uint64_t home = blocks.front().base.disk;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const LocatedBlock& one = blocks[i];
    if (one.base.disk == 0 || one.base.disk != home + i || !one.deltas.empty()) return false;
    if (homes_.find(one.base.disk) != nullptr) return false;
  }
  return true;
}

Task<Result<PieceStore::Content>> PieceStore::read_run(PieceId piece,
                                                       std::vector<LocatedBlock> blocks,
                                                       bool verify) {
  Content content;
  content.bytes = Buffer::allocate(blocks.size() * kBlockBytes);
  const DiskOffset offset(blocks.front().base.disk * kBlockBytes);
  const Status status = co_await device_.read(offset, content.bytes.span());
  // Which of them can the drive not read?
  if (!status.has_value() && blocks.size() > 1) {
    co_return co_await read_located(piece, std::move(blocks), std::nullopt, verify);
  }
  const bool look = options_.verify_on_read || verify;
  content.crcs.reserve(blocks.size());
  Status first;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const LocatedBlock& one = blocks[i];
    const Bytes bytes = content.bytes.span().subspan(i * kBlockBytes, kBlockBytes);
    Status right = check_block(piece, one.block, one.base, bytes, status, look, std::nullopt);
    if (!right.has_value() && first.has_value()) first = std::move(right);
    content.crcs.push_back(one.base.crc);
    if (!content.present.empty() && content.present.back().end() == one.block) {
      ++content.present.back().count;
    } else {
      content.present.push_back({one.block, 1});
    }
  }
  if (!first.has_value()) co_return fail(std::move(first).error());
  co_return content;
}

Task<Result<PieceStore::Content>> PieceStore::read_located(PieceId piece,
                                                           std::vector<LocatedBlock> blocks,
                                                           std::optional<OpId> through,
                                                           bool verify) {
  const bool deltas_twice = through.has_value() && options_.sabotage.fold_twice;
  Content content;
  content.bytes = Buffer::allocate(blocks.size() * kBlockBytes);
  std::size_t deltas = 0;
  for (const LocatedBlock& block : blocks) {
    deltas += block.deltas.size();
    if (!content.present.empty() && content.present.back().end() == block.block) {
      ++content.present.back().count;
    } else {
      content.present.push_back({block.block, 1});
    }
  }
  Buffer delta_bytes = deltas == 0 ? Buffer() : Buffer::allocate(deltas * kBlockBytes);
  std::vector<Fetch> fetches;
  fetches.reserve(blocks.size() + deltas);
  std::size_t delta = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const MutableBytes into = content.bytes.span().subspan(i * kBlockBytes, kBlockBytes);
    if (blocks[i].base.disk != 0) {
      fetches.push_back({blocks[i].block, blocks[i].base, into, !blocks[i].deltas.empty(), {}});
    } else {
      std::memset(into.data(), 0, into.size());
    }
    for (const BlockPlace& layer : blocks[i].deltas) {
      const MutableBytes part = delta_bytes.span().subspan(delta++ * kBlockBytes, kBlockBytes);
      fetches.push_back({blocks[i].block, layer, part, true, {}});
    }
  }
  CO_TRY_VOID(co_await fetch_all(&fetches));
  CO_TRY_VOID(check_fetched(piece, &fetches, through, verify));
  delta = 0;
  content.crcs.reserve(blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const MutableBytes into = content.bytes.span().subspan(i * kBlockBytes, kBlockBytes);
    for (std::size_t n = 0; n < blocks[i].deltas.size(); ++n) {
      const Bytes layer = delta_bytes.span().subspan(delta++ * kBlockBytes, kBlockBytes);
      add_onto(into, layer);
      if (deltas_twice) add_onto(into, layer);
    }
    content.crcs.push_back(blocks[i].deltas.empty() ? blocks[i].base.crc : crc32c(into));
  }
  co_return content;
}

// Blocks that one request brings.
struct PieceStore::Run {
  Fetch* first = nullptr;
  std::size_t count = 0;
  std::optional<std::uint64_t> ring_block;  // of the first; nullopt: they are at home
};

// Neighbours, at home or in the ring, that lie together in memory are one request; what memory
// holds of the ring needs none.
Task<Status> PieceStore::fetch_all(std::vector<Fetch>* fetches) {
  std::vector<Run> runs;
  bool reads_ring = false;
  for (Fetch& fetch : *fetches) {
    const HomeMap::Place* const place = homes_.find(fetch.place.disk);
    if (place != nullptr && !place->bytes.empty()) {
      std::memcpy(fetch.into.data(), place->bytes.data(), kBlockBytes);
      continue;
    }
    std::optional<std::uint64_t> ring_block;
    if (place != nullptr) ring_block = place->ring_block;
    reads_ring = reads_ring || place != nullptr;
    bool joins = !runs.empty() && runs.back().first + runs.back().count == &fetch &&
                 runs.back().ring_block.has_value() == ring_block.has_value() &&
                 (&fetch)[-1].into.data() + kBlockBytes == fetch.into.data();
    if (joins && place != nullptr) {
      joins = *runs.back().ring_block + runs.back().count == *ring_block;
    } else if (joins) {
      joins = (&fetch)[-1].place.disk + 1 == fetch.place.disk;
    }
    if (joins) {
      ++runs.back().count;
    } else {
      runs.push_back({&fetch, 1, ring_block});
    }
  }
  // Whoever begins must wake the checkpoint that waits for its end.
  const Epochs::Ticket ring_ticket = reads_ring ? ring_reads_.begin() : Epochs::Ticket{};
  if (runs.size() == 1) {
    co_await fetch_run(this, runs[0]);
  } else {
    runtime::TaskGroup reads(runtime_);
    for (const Run& run : runs) reads.spawn(fetch_run(this, run));
    co_await reads.join();
  }
  if (reads_ring) {
    ring_reads_.end(ring_ticket);
    progress_.notify_all();
  }
  co_return Status();
}

Task<Status> PieceStore::read_blocks(std::optional<std::uint64_t> ring_block, std::uint64_t home,
                                     MutableBytes into) {
  if (ring_block.has_value()) co_return co_await ring_->read(*ring_block, into);
  co_return co_await device_.read(DiskOffset(home * kBlockBytes), into);
}

Task<void> PieceStore::fetch_run(PieceStore* self, Run run) {
  Fetch* const first = run.first;
  const MutableBytes into(first->into.data(), run.count * kBlockBytes);
  Status status = co_await self->read_blocks(run.ring_block, first->place.disk, into);
  if (status.has_value()) co_return;
  if (run.count == 1) {
    first->status = std::move(status);
    co_return;
  }
  // Which of them can the drive not read?
  for (std::size_t i = 0; i < run.count; ++i) {
    std::optional<std::uint64_t> ring_block = run.ring_block;
    if (ring_block.has_value()) *ring_block += i;
    Status one = co_await self->read_blocks(ring_block, first[i].place.disk, first[i].into);
    first[i].status = std::move(one);
  }
}

Status PieceStore::check_block(PieceId piece, std::uint64_t block, const BlockPlace& place,
                               Bytes bytes, Status status, bool look, std::optional<OpId> through) {
  if (status.has_value()) {
    if (!look || options_.sabotage.skip_verify || crc32c(bytes) == place.crc) return {};
    status = fail(Code::kChecksumMismatch,
                  fmt::format("block {} of piece {}.{} (disk block {})", block, piece.chunk.raw(),
                              piece.index.raw(), place.disk));
  }
  if (still_lies_at(piece, block, place.disk, through)) {
    note_damaged({piece, block, place.disk, place.crc}, status.error());
  }
  return status;
}

Status PieceStore::check_fetched(PieceId piece, std::vector<Fetch>* fetches,
                                 std::optional<OpId> through, bool verify) {
  const bool all = options_.verify_on_read || through.has_value() || verify;
  Status first;
  for (Fetch& fetch : *fetches) {
    Status right = check_block(piece, fetch.block, fetch.place, fetch.into, std::move(fetch.status),
                               all || fetch.merged, through);
    if (!right.has_value() && first.has_value()) first = std::move(right);
  }
  return first;
}

// A block that was overwritten while it was read is nobody's damage.
bool PieceStore::still_lies_at(PieceId piece, std::uint64_t block, std::uint64_t home,
                               std::optional<OpId> through) {
  const Result<const PieceRow*> row = table_->piece(piece);
  if (!row.has_value() || *row == nullptr) return false;
  const Result<std::vector<LocatedBlock>> located =
      locate(*table_, piece, **row, {{block, 1}}, through);
  if (!located.has_value() || located->empty()) return false;
  const LocatedBlock& now = located->front();
  return now.base.disk == home ||
         std::any_of(now.deltas.begin(), now.deltas.end(),
                     [home](const BlockPlace& layer) { return layer.disk == home; });
}

void PieceStore::note_damaged(const DamagedBlock& block, const Error& why) {
  if (why.code() == Code::kChecksumMismatch) {
    ++checksum_errors_;
  } else {
    ++read_errors_;
  }
  if (failure_.has_value()) return;
  if (damaged_.size() >= kDamagedBlocksMax) return;
  if (damaged_.emplace(block.home, block).second) {
    log_.error("damaged: block {} of piece {}.{}: {}", block.block, block.piece.chunk.raw(),
               block.piece.index.raw(), why.to_string());
  }
}

Task<Result<std::optional<PieceId>>> PieceStore::next_piece(std::optional<PieceId> after) {
  CO_TRY_VOID(usable());
  co_return co_await table_->next_piece(after);
}

Task<Result<std::vector<BlockRange>>> PieceStore::stored(PieceId piece, std::uint64_t first,
                                                         std::uint64_t most) {
  CO_TRY_VOID(usable());
  if (first >= kPieceBlocksMax) co_return std::vector<BlockRange>();
  std::vector<BlockRange> rest(1, BlockRange{first, kPieceBlocksMax - first});
  CO_TRY_VOID(co_await load(piece, std::move(rest)));
  CO_TRY_VOID(usable());
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "there is no such piece here");
  co_return stored_ranges(*table_, piece, *row, first, most);
}

Task<Result<PieceFacts>> PieceStore::facts(PieceId piece) {
  CO_TRY_VOID(usable());
  CO_TRY_VOID(co_await load(piece, {}));
  CO_TRY_VOID(usable());
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "there is no such piece here");
  co_return row->facts;
}

std::vector<DamagedBlock> PieceStore::damaged() const {
  std::vector<DamagedBlock> blocks;
  blocks.reserve(damaged_.size());
  for (const auto& [home, block] : damaged_) blocks.push_back(block);
  std::sort(blocks.begin(), blocks.end());
  return blocks;
}

}  // namespace cairn::chunkserver::store
