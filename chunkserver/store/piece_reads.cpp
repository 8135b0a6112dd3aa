// The reading half of PieceStore, and its self-check.
#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/piece_store.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {

Task<void> PieceStore::read_run(io::BlockDevice* device, std::uint64_t disk, MutableBytes into,
                                Status* first_error) {
  Status status = co_await device->read(DiskOffset(disk * kBlockBytes), into);
  if (!status.has_value() && first_error->has_value()) *first_error = std::move(status);
}

Task<Result<ReadAnswer>> PieceStore::read(PieceId piece, std::vector<BlockRange> ranges) {
  const std::uint64_t blocks = total_blocks(ranges);
  if (blocks > kReadBlocksMax)
    co_return fail(Code::kInvalidArgument, "too many blocks in one read");
  const runtime::Semaphore::Permit permit =
      co_await read_budget_.acquire(std::max<ByteCount>(blocks * kBlockBytes, kBlockBytes));
  CO_TRY_VOID(usable());
  // Blocks that are freed from now on stay as they are until this read has ended.
  const ReuseGate::Ticket ticket = gate_.begin_read();
  Result<ReadAnswer> answer = co_await read_blocks(piece, std::move(ranges));
  gate_.end_read(ticket);
  if (release_freed()) progress_.notify_all();
  co_return answer;
}

Task<Result<ReadAnswer>> PieceStore::read_blocks(PieceId piece, std::vector<BlockRange> ranges) {
  CO_TRY(const std::optional<PieceRow> row, load_piece(kv_, piece));
  if (!row.has_value()) co_return fail(Code::kPieceMissing, "there is no such piece here");
  CO_TRY(const std::vector<LocatedBlock> blocks, locate(kv_, piece, *row, ranges));
  ReadAnswer answer;
  answer.bytes = Buffer::allocate(blocks.size() * kBlockBytes);
  answer.crcs.reserve(blocks.size());
  for (const LocatedBlock& block : blocks) {
    answer.crcs.push_back(block.place.crc);
    if (!answer.present.empty() && answer.present.back().end() == block.block) {
      ++answer.present.back().count;
    } else {
      answer.present.push_back({block.block, 1});
    }
  }
  // Runs that lie together on the disk are one request into their place in the reply.
  Status first_error;
  runtime::TaskGroup reads(runtime_);
  for (std::size_t i = 0; i < blocks.size();) {
    std::size_t n = 1;
    while (i + n < blocks.size() && blocks[i + n].place.disk == blocks[i].place.disk + n) ++n;
    const MutableBytes into = answer.bytes.span().subspan(i * kBlockBytes, n * kBlockBytes);
    reads.spawn(read_run(&device_, blocks[i].place.disk, into, &first_error));
    i += n;
  }
  co_await reads.join();
  if (!first_error.has_value()) co_return fail(first_error.error());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Bytes bytes = std::as_const(answer.bytes).span().subspan(i * kBlockBytes, kBlockBytes);
    if (crc32c(bytes) == blocks[i].place.crc) continue;
    ++checksum_errors_;
    const std::string where =
        fmt::format("block {} of piece {}.{} (disk block {})", blocks[i].block, piece.chunk.raw(),
                    piece.index.raw(), blocks[i].place.disk);
    log_.error("wrong checksum: {}", where);
    co_return fail(Code::kChecksumMismatch, where);
  }
  co_return answer;
}

Status PieceStore::check_consistency() const {
  CHECK(staged_.empty());
  CHECK(!gate_.reading());
  CHECK(!gate_.holds());
  space_.check_invariants();
  std::vector<Extent> referenced;
  std::map<PieceId, std::uint64_t> stored;
  Status status;
  Counters counted;
  const auto visit_piece = [&](std::string_view key, std::string_view value) {
    const Result<PieceId> piece = parse_piece_key(key);
    const Result<PieceRow> row = decode_piece_row(value);
    CHECK(piece.has_value());
    CHECK(row.has_value());
    ++counted.pieces;
    stored[*piece] = row->blocks;
    CHECK_GE(row->fence.epoch, row->fence.settled.epoch);
    for (const PendingOp& op : row->pending) {
      CHECK(!is_settled(row->fence, op.op));
      referenced.insert(referenced.end(), op.extents.begin(), op.extents.end());
    }
    return true;
  };
  TRY_VOID(kv_.scan(kPiecePrefix, kv::prefix_end(kPiecePrefix), visit_piece));
  for (auto& [piece, blocks] : stored) {
    std::uint64_t found = 0;
    const std::string prefix = segment_prefix(piece);
    TRY_VOID(
        kv_.scan(prefix, kv::prefix_end(prefix), [&](std::string_view, std::string_view value) {
          const Result<Segment> segment = decode_segment(value);
          CHECK(segment.has_value());
          CHECK(!segment->empty());
          for (const BlockPlace& place : segment->places) {
            if (place.disk == 0) continue;
            ++found;
            referenced.push_back({place.disk, 1});
          }
          return true;
        }));
    CHECK_EQ(found, blocks);
  }
  counted.used_blocks = total_blocks(referenced);
  CHECK(counted == counters_);
  CHECK_EQ(space_.used_blocks(), counted.used_blocks);
  // Every referenced block once: marking all of them as free would fail on a double use.
  SpaceMap map(recovered_.data_first, space_.end());
  for (const Extent& extent : referenced) {
    TRY_VOID(map.take(extent));
  }
  for (const Extent& extent : referenced) CHECK(!space_.is_free(extent.first));
  return {};
}

}  // namespace cairn::chunkserver::store
