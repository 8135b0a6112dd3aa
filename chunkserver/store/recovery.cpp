#include "chunkserver/store/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "chunkserver/store/byte_codec.h"
#include "chunkserver/store/piece_index.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint64_t kSuperblockMagic = 0x3153'4e52'4941'43ULL;  // "CAIRNS1"
constexpr ByteCount kStepBytes = 1_MiB;

struct Superblock {
  std::uint64_t salt = 0;
  std::uint64_t journal_first = 0;
  std::uint64_t journal_blocks = 0;
  std::uint64_t data_first = 0;
};

Buffer encode_superblock(const Superblock& superblock) {
  ByteWriter out;
  out.put(kSuperblockMagic);
  out.put(superblock.salt);
  out.put(superblock.journal_first);
  out.put(superblock.journal_blocks);
  out.put(superblock.data_first);
  std::string bytes = out.take();
  const std::uint32_t crc = crc32c(as_bytes(bytes));
  ByteWriter tail;
  tail.put(crc);
  bytes += tail.take();
  Buffer block = Buffer::zeroed(kBlockBytes);
  std::memcpy(block.data(), bytes.data(), bytes.size());
  return block;
}

bool is_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Result<Superblock> decode_superblock(Bytes block) {
  ByteReader in(as_text(block));
  Superblock superblock;
  const auto magic = in.get<std::uint64_t>();
  superblock.salt = in.get<std::uint64_t>();
  superblock.journal_first = in.get<std::uint64_t>();
  superblock.journal_blocks = in.get<std::uint64_t>();
  superblock.data_first = in.get<std::uint64_t>();
  const std::uint32_t crc = crc32c(block.first(40));
  if (magic != kSuperblockMagic || in.get<std::uint32_t>() != crc) {
    return fail(Code::kCorrupt, "the superblock of the data file is damaged");
  }
  const bool sane = superblock.journal_blocks >= kJournalBlocksMin &&
                    superblock.journal_blocks <= kJournalBlocksMax &&
                    superblock.data_first == superblock.journal_first + superblock.journal_blocks;
  if (!sane) return fail(Code::kCorrupt, "the superblock of the data file makes no sense");
  return superblock;
}

Result<JournalPosition> load_position(const kv::Reader& reader) {
  TRY(const std::optional<std::string> bytes, reader.get(kPositionKey));
  if (!bytes.has_value()) return JournalPosition();
  return decode_position(*bytes);
}
Result<std::optional<std::uint64_t>> load_salt(const kv::Reader& reader) {
  TRY(const std::optional<std::string> bytes, reader.get(kSaltKey));
  if (!bytes.has_value()) return std::optional<std::uint64_t>();
  ByteReader in(*bytes);
  const auto salt = in.get<std::uint64_t>();
  if (!in.finished()) return fail(Code::kCorrupt, "undecodable index row: salt");
  return std::optional(salt);
}

Task<Status> read_all(io::BlockDevice* device, std::uint64_t first_block, MutableBytes into) {
  for (std::size_t at = 0; at < into.size(); at += kStepBytes) {
    const MutableBytes part = into.subspan(at, std::min<std::size_t>(kStepBytes, into.size() - at));
    Status status = co_await device->read(DiskOffset(first_block * kBlockBytes + at), part);
    if (!status.has_value()) co_return status;
  }
  co_return Status();
}

// Makes an empty store: ring of zeros, index rows, and last of all the superblock.
Task<Result<Superblock>> make_store(runtime::Runtime* runtime, io::BlockDevice* device, kv::Kv* kv,
                                    std::uint64_t journal_blocks) {
  Superblock made{runtime->random() | 1, kReservedBlocks, journal_blocks,
                  kReservedBlocks + journal_blocks};
  CO_TRY_VOID(co_await device->grow(made.data_first * kBlockBytes));
  const Buffer zeros = Buffer::zeroed(kStepBytes);
  for (std::uint64_t block = 0; block < made.data_first; block += kStepBytes / kBlockBytes) {
    const std::uint64_t count = std::min(kStepBytes / kBlockBytes, made.data_first - block);
    std::vector<Bytes> parts{zeros.span().first(count * kBlockBytes)};
    CO_TRY_VOID(co_await device->write(DiskOffset(block * kBlockBytes), std::move(parts)));
  }
  CO_TRY_VOID(co_await device->flush());
  kv::Batch rows;
  ByteWriter salt;
  salt.put(made.salt);
  rows.put(std::string(kSaltKey), salt.take());
  rows.put(std::string(kPositionKey), encode(JournalPosition()));
  rows.put(std::string(kCountersKey), encode(Counters()));
  CO_TRY_VOID(kv->write(rows));
  CO_TRY_VOID(kv->flush());
  const Buffer block = encode_superblock(made);
  std::vector<Bytes> parts{block.span()};
  CO_TRY_VOID(co_await device->write(DiskOffset(0), std::move(parts)));
  CO_TRY_VOID(co_await device->flush());
  co_return made;
}

Task<Result<Superblock>> open_superblock(runtime::Runtime* runtime, io::BlockDevice* device,
                                         kv::Kv* kv, std::uint64_t journal_blocks, bool* made) {
  Buffer block = Buffer::zeroed(kBlockBytes);
  if (device->size() >= kBlockBytes) {
    CO_TRY_VOID(co_await device->read(DiskOffset(0), block.span()));
  }
  CO_TRY(const std::optional<std::uint64_t> salt, load_salt(*kv));
  if (is_zero(std::as_const(block).span())) {
    CO_TRY(const JournalPosition position, load_position(*kv));
    if (position.sequence != 0) {
      co_return fail(Code::kCorrupt, "the index is in use but the data file has no superblock");
    }
    *made = true;
    co_return co_await make_store(runtime, device, kv, journal_blocks);
  }
  CO_TRY(const Superblock superblock, decode_superblock(std::as_const(block).span()));
  if (salt != superblock.salt) {
    co_return fail(Code::kCorrupt, salt.has_value() ? "the index belongs to another data file"
                                                    : "the index of the data file is lost");
  }
  if (device->size() / kBlockBytes < superblock.data_first) {
    co_return fail(Code::kCorrupt, "the data file is shorter than its journal");
  }
  co_return superblock;
}

// True when every block of the op is on the disk.
Task<Result<bool>> is_whole(io::BlockDevice* device, const PrepareRecord* record) {
  std::size_t index = 0;
  for (const Extent& extent : record->extents) {
    if (extent.end() * kBlockBytes > device->size()) co_return false;
    Buffer bytes = Buffer::allocate(extent.count * kBlockBytes);
    CO_TRY_VOID(co_await read_all(device, extent.first, bytes.span()));
    for (std::uint64_t i = 0; i < extent.count; ++i, ++index) {
      const Bytes block = std::as_const(bytes).span().subspan(i * kBlockBytes, kBlockBytes);
      if (crc32c(block) != record->crcs[index]) co_return false;
    }
  }
  co_return true;
}

// Removes from the last batch what its flush did not finish.
Task<Result<std::uint64_t>> drop_unfinished(io::BlockDevice* device, Batch* batch) {
  std::vector<Record> whole;
  for (Record& record : batch->records) {
    const auto* prepare = std::get_if<PrepareRecord>(&record);
    if (prepare != nullptr) {
      CO_TRY(const bool keep, co_await is_whole(device, prepare));
      if (!keep) continue;
    }
    whole.push_back(std::move(record));
  }
  const std::uint64_t dropped = batch->records.size() - whole.size();
  batch->records = std::move(whole);
  co_return dropped;
}

// A record may speak of a piece whose creation was dropped from the same batch: nothing to do then.
Result<bool> applies(const kv::Reader& reader, const std::vector<Record>& before,
                     const Record& record) {
  if (std::holds_alternative<PrepareRecord>(record)) return true;
  TRY(const std::optional<PieceRow> row, load_piece(reader, piece_of(record)));
  bool exists = row.has_value();
  for (const Record& earlier : before) {
    if (piece_of(earlier) != piece_of(record)) continue;
    if (std::holds_alternative<PrepareRecord>(earlier)) exists = true;
    if (std::holds_alternative<RemoveRecord>(earlier)) exists = false;
  }
  return exists;
}

Status replay(kv::Kv& kv, const Batch& batch, const JournalPosition& position, bool last) {
  PieceIndex index(kv);
  std::vector<Record> done;
  for (const Record& record : batch.records) {
    if (last) {
      TRY(const bool useful, applies(kv, done, record));
      if (!useful) continue;
      done.push_back(record);
    }
    TRY_VOID(index.apply(record));
  }
  TRY(const PieceIndex::Change change, index.take(position));
  return kv.write(change.batch);
}

Result<SpaceMap> load_space(const kv::Reader& reader, std::uint64_t data_first, std::uint64_t end) {
  SpaceMap space(data_first, end);
  Extent run;
  Status status;
  const auto add_run = [&](std::uint64_t first, std::uint64_t count) -> Status {
    if (run.count != 0 && run.end() == first) {
      run.count += count;
      return {};
    }
    const Extent whole = std::exchange(run, Extent{first, count});
    return space.take(whole);
  };
  const auto add_word = [&](std::uint64_t first, std::uint64_t word) -> Status {
    if (word == UINT64_MAX) return add_run(first, 64);
    while (word != 0) {
      const auto skip = static_cast<std::uint64_t>(std::countr_zero(word));
      const auto count = static_cast<std::uint64_t>(std::countr_one(word >> skip));
      TRY_VOID(add_run(first + skip, count));
      // Fewer than 64 in all: neither shift is out of range.
      word &= ~(((std::uint64_t{1} << count) - 1) << skip);
    }
    return {};
  };
  const std::string end_key = kv::prefix_end(kRegionPrefix);
  TRY_VOID(reader.scan(kRegionPrefix, end_key, [&](std::string_view key, std::string_view value) {
    const Result<std::uint64_t> number = parse_region_key(key);
    const Result<UsedRegion> region = decode_region(value);
    if (!number.has_value() || !region.has_value()) {
      status = fail(Code::kCorrupt, "undecodable index row: region");
      return false;
    }
    for (std::size_t i = 0; i < region->bits.size() && status.has_value(); ++i) {
      status = add_word(*number * kRegionBlocks + 64 * i, region->bits[i]);
    }
    return status.has_value();
  }));
  TRY_VOID(std::move(status));
  TRY_VOID(space.take(run));
  return space;
}

}  // namespace

Task<Result<RecoveredStore>> recover(runtime::Runtime* runtime, io::BlockDevice* device, kv::Kv* kv,
                                     std::uint64_t journal_blocks) {
  CHECK_GE(journal_blocks, kJournalBlocksMin);
  CHECK_LE(journal_blocks, kJournalBlocksMax);
  RecoveredStore store;
  CO_TRY(const Superblock superblock,
         co_await open_superblock(runtime, device, kv, journal_blocks, &store.made));
  store.journal = {superblock.salt, superblock.journal_first, superblock.journal_blocks};
  store.data_first = superblock.data_first;
  CO_TRY(const JournalPosition from, load_position(*kv));
  if (from.next_block > superblock.journal_blocks) {
    co_return fail(Code::kCorrupt, "the journal position of the index is outside the journal");
  }
  Buffer ring = Buffer::allocate(superblock.journal_blocks * kBlockBytes);
  CO_TRY_VOID(co_await read_all(device, superblock.journal_first, ring.span()));
  CO_TRY(JournalScan scan, scan_journal(std::as_const(ring).span(), superblock.salt, from));
  if (!scan.batches.empty()) {
    CO_TRY(store.dropped, co_await drop_unfinished(device, &scan.batches.back()));
    // What was read may be in a cache only: it must not be lost after the index says that it is
    // there.
    CO_TRY_VOID(co_await device->flush());
  }
  JournalPosition position = from;
  for (std::size_t i = 0; i < scan.batches.size(); ++i) {
    const Batch& batch = scan.batches[i];
    position = {batch.sequence, batch.at + batch.blocks, batch.crc};
    CO_TRY_VOID(replay(*kv, batch, position, i + 1 == scan.batches.size()));
  }
  if (!scan.batches.empty()) {
    CO_TRY_VOID(kv->flush());
  }
  CHECK(position == scan.end);
  store.batches = scan.batches.size();
  store.position = position;
  CO_TRY(store.counters, load_counters(*kv));
  CO_TRY(store.space, load_space(*kv, store.data_first, device->size() / kBlockBytes));
  if (store.space.used_blocks() != store.counters.used_blocks) {
    co_return fail(Code::kCorrupt,
                   fmt::format("{} blocks are used but {} are counted", store.space.used_blocks(),
                               store.counters.used_blocks));
  }
  co_return store;
}

}  // namespace cairn::chunkserver::store
