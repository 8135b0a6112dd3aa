#include "chunkserver/store/store_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/byte_codec.h"
#include "common/base/check.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// What the index says about the store as a whole.
struct Identity {
  std::optional<std::uint64_t> store_id;
  TablePosition position;
  bool used = false;  // more than an interrupted make left it
};

Result<Identity> load_identity(const kv::Reader& reader) {
  Identity identity;
  TRY(const std::optional<std::string> id, reader.get(kStoreIdKey));
  TRY(const std::optional<std::string> position, reader.get(kPositionKey));
  if (!id.has_value() && !position.has_value()) {
    TRY_VOID(reader.scan("", "", [&](std::string_view, std::string_view) {
      identity.used = true;
      return false;
    }));
    return identity;
  }
  if (!id.has_value() || !position.has_value()) {
    return fail(Code::kCorrupt, "the index lacks the id of its store or the journal's position");
  }
  ByteReader in(*id);
  identity.store_id = in.get<std::uint64_t>();
  if (!in.finished()) return fail(Code::kCorrupt, "undecodable index row: id of the store");
  TRY(identity.position, decode_position(*position));
  identity.used = identity.position.generation != 0 || identity.position.applied.sequence != 0;
  return identity;
}

kv::Batch position_row(const TablePosition& position) {
  kv::Batch batch;
  batch.put(std::string(kPositionKey), encode(position));
  return batch;
}

// The rows of a store that is being made: generation 0. The id is kept over an interruption, so
// that the ring file it left is known for its own.
Status begin_making(kv::Kv& kv, std::uint64_t store_id) {
  kv::Batch rows = position_row(TablePosition());
  ByteWriter id;
  id.put(store_id);
  rows.put(std::string(kStoreIdKey), id.take());
  rows.put(std::string(kCountersKey), encode(Counters()));
  TRY_VOID(kv.write(rows));
  return kv.flush();
}

// The superblock's slots are zero: they were read. The rest of what is reserved becomes so, too.
Task<Status> clear_reserved(io::BlockDevice* device) {
  const Buffer zeros = Buffer::zeroed((kReservedBlocks - 2) * kBlockBytes);
  std::vector<io::DeviceWrite> writes;
  writes.push_back({DiskOffset(2 * kBlockBytes), {zeros.span()}});
  Status status = co_await device->write_durably(std::move(writes));
  co_return status;
}

Task<Result<StoreFiles>> make_store(runtime::Runtime* runtime, io::BlockDevice* device, kv::Kv* kv,
                                    RingPlace wanted, std::optional<std::uint64_t> store_id,
                                    const OpenRing* open) {
  StoreFiles files;
  files.made = true;
  files.superblock.generation = 1;
  files.superblock.store_id = store_id.has_value() ? *store_id : runtime->random() | 1;
  wanted.id = runtime->random() | 1;
  wanted.first = wanted.external() ? 0 : kReservedBlocks;
  CO_TRY_VOID(begin_making(*kv, files.superblock.store_id));
  FAULT_POINT("store.make.rows");
  const std::uint64_t blocks = kReservedBlocks + (wanted.external() ? 0 : wanted.blocks);
  CO_TRY_VOID(co_await device->grow(blocks * kBlockBytes));
  CO_TRY_VOID(co_await clear_reserved(device));
  Result<std::unique_ptr<RingDevice>> ring =
      co_await make_ring(runtime, device, std::move(wanted), files.superblock.store_id, open);
  if (!ring.has_value()) co_return fail(std::move(ring).error());
  files.ring = std::move(*ring);
  files.superblock.ring = files.ring->place();
  FAULT_POINT("store.make.ring");
  CO_TRY_VOID(co_await write_superblock(device, files.superblock));
  FAULT_POINT("store.make.superblock");
  // From here on a zero superblock is a lost one.
  files.position.ring = files.superblock.ring.id;
  files.position.generation = files.superblock.generation;
  CO_TRY_VOID(kv->write(position_row(files.position)));
  CO_TRY_VOID(kv->flush());
  files.current = true;
  co_return std::move(files);
}

// Where the journal begins to be read: superblock and rows must tell one story.
Result<TablePosition> agree(const Superblock& superblock, const Identity& identity) {
  if (!identity.store_id.has_value()) {
    return fail(Code::kCorrupt, "the index of the data file is lost");
  }
  if (*identity.store_id != superblock.store_id) {
    return fail(Code::kCorrupt, "the index belongs to another data file");
  }
  TablePosition position = identity.position;
  if (position.generation > superblock.generation) {
    return fail(Code::kCorrupt,
                fmt::format("the newest superblock is lost: there is generation {}, the index "
                            "knows {}",
                            superblock.generation, position.generation));
  }
  const bool orderly =
      position.tail.sequence < position.applied.sequence || position.tail == position.applied;
  if (!orderly) {
    return fail(Code::kCorrupt, "the journal's position in the index makes no sense");
  }
  if (position.ring != superblock.ring.id) {
    // A switch made the new ring count when everything in the old one was in the index.
    if (position.generation == superblock.generation || position.tail != position.applied) {
      return fail(Code::kCorrupt, "the index speaks of another journal than the superblock");
    }
    position.ring = superblock.ring.id;
    position.applied.next_block = 0;
    position.tail.next_block = 0;
  }
  position.generation = superblock.generation;
  if (std::max(position.applied.next_block, position.tail.next_block) > superblock.ring.blocks) {
    return fail(Code::kCorrupt, "the journal's position in the index is outside the journal");
  }
  return position;
}

}  // namespace

Task<Result<StoreFiles>> open_store_files(runtime::Runtime* runtime, io::BlockDevice* device,
                                          kv::Kv* kv, RingPlace wanted, const OpenRing* open) {
  CO_TRY(const std::optional<Superblock> superblock, co_await read_superblock(device));
  CO_TRY(const Identity identity, load_identity(*kv));
  if (!superblock.has_value()) {
    if (identity.used) {
      co_return fail(Code::kCorrupt, "the index is in use but the data file has no superblock");
    }
    co_return co_await make_store(runtime, device, kv, std::move(wanted), identity.store_id, open);
  }
  StoreFiles files;
  files.superblock = *superblock;
  CO_TRY(files.position, agree(*superblock, identity));
  if (device->size() / kBlockBytes < kReservedBlocks) {
    co_return fail(Code::kCorrupt, "the data file is shorter than its reserved blocks");
  }
  files.current = files.position == identity.position;
  Result<std::unique_ptr<RingDevice>> ring =
      co_await open_ring(device, superblock->ring, superblock->store_id, open);
  if (!ring.has_value()) co_return fail(std::move(ring).error());
  files.ring = std::move(*ring);
  co_return std::move(files);
}

}  // namespace cairn::chunkserver::store
