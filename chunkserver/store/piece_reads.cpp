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
  runtime::Semaphore::Permit permit =
      co_await read_budget_.acquire_until(bytes, runtime_.after(kFenceLook));
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
  CO_TRY_VOID(co_await load(piece, ranges));
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "there is no such piece here");
  CO_TRY(std::vector<LocatedBlock> blocks, locate(*table_, piece, *row, ranges, through));
  // Blocks that are freed from now on stay as they are until this read has ended.
  const ReuseGate::Ticket ticket = gate_.begin_read();
  Result<Content> content = co_await read_located(piece, std::move(blocks), through, verify);
  gate_.end_read(ticket);
  if (release_freed()) progress_.notify_all();
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

// Neighbours on the disk that lie together in memory are one request; what is only in the ring
// comes
// from memory or from there.
Task<Status> PieceStore::fetch_all(std::vector<Fetch>* fetches) {
  std::vector<std::pair<Fetch*, std::size_t>> runs;
  std::vector<std::pair<Fetch*, std::uint64_t>> in_ring;
  for (Fetch& fetch : *fetches) {
    const HomeMap::Place* const place = homes_.find(fetch.place.disk);
    if (place != nullptr && !place->bytes.empty()) {
      std::memcpy(fetch.into.data(), place->bytes.data(), kBlockBytes);
      continue;
    }
    if (place != nullptr) {
      in_ring.emplace_back(&fetch, place->ring_block);
      continue;
    }
    const bool joins = !runs.empty() && runs.back().first + runs.back().second == &fetch &&
                       (&fetch)[-1].place.disk + 1 == fetch.place.disk &&
                       (&fetch)[-1].into.data() + kBlockBytes == fetch.into.data();
    if (joins) {
      ++runs.back().second;
    } else {
      runs.emplace_back(&fetch, 1);
    }
  }
  if (runs.size() == 1 && in_ring.empty()) {
    co_await fetch_run(this, runs[0].first, runs[0].second);
    co_return Status();
  }
  runtime::TaskGroup reads(runtime_);
  for (const auto& [first, count] : runs) reads.spawn(fetch_run(this, first, count));
  // Whoever begins must wake the checkpoint that waits for its end.
  const bool reads_ring = !in_ring.empty();
  const ReadEpochs::Ticket ring_ticket = reads_ring ? ring_reads_.begin() : ReadEpochs::Ticket{};
  for (const auto& [fetch, block] : in_ring) reads.spawn(fetch_from_ring(this, fetch, block));
  co_await reads.join();
  if (reads_ring) {
    ring_reads_.end(ring_ticket);
    progress_.notify_all();
  }
  co_return Status();
}

Task<void> PieceStore::fetch_from_ring(PieceStore* self, Fetch* fetch, std::uint64_t ring_block) {
  Status status = co_await self->ring_->read(ring_block, fetch->into);
  fetch->status = std::move(status);
}

Task<void> PieceStore::fetch_run(PieceStore* self, Fetch* first, std::size_t count) {
  const DiskOffset at(first->place.disk * kBlockBytes);
  const MutableBytes into(first->into.data(), count * kBlockBytes);
  Status status = co_await self->device_.read(at, into);
  if (status.has_value()) co_return;
  if (count == 1) {
    first->status = std::move(status);
    co_return;
  }
  // Which of them can the drive not read?
  for (std::size_t i = 0; i < count; ++i) {
    Status one =
        co_await self->device_.read(DiskOffset(first[i].place.disk * kBlockBytes), first[i].into);
    first[i].status = std::move(one);
  }
}

Status PieceStore::check_fetched(PieceId piece, std::vector<Fetch>* fetches,
                                 std::optional<OpId> through, bool verify) {
  const bool all = (options_.verify_on_read || through.has_value() || verify);
  Status first;
  for (Fetch& fetch : *fetches) {
    const bool look = (all || fetch.merged) && !options_.sabotage.skip_verify;
    const bool right = !look || crc32c(fetch.into) == fetch.place.crc;
    if (fetch.status.has_value() && right) continue;
    if (fetch.status.has_value()) {
      fetch.status = fail(Code::kChecksumMismatch,
                          fmt::format("block {} of piece {}.{} (disk block {})", fetch.block,
                                      piece.chunk.raw(), piece.index.raw(), fetch.place.disk));
    }
    if (still_lies_at(piece, fetch.block, fetch.place.disk, through)) {
      note_damaged({piece, fetch.block, fetch.place.disk, fetch.place.crc}, fetch.status.error());
    }
    if (first.has_value()) first = fetch.status;
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
  CO_TRY(const PieceRow* const row, table_->piece(piece));
  if (row == nullptr) co_return fail(Code::kPieceMissing, "there is no such piece here");
  co_return stored_ranges(*table_, piece, *row, first, most);
}

Task<Result<PieceFacts>> PieceStore::facts(PieceId piece) {
  CO_TRY_VOID(usable());
  CO_TRY_VOID(co_await load(piece, {}));
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
