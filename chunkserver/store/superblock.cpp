#include "chunkserver/store/superblock.h"

#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/byte_codec.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint64_t kSuperblockMagic = 0x0032'534e'5249'4143ULL;  // "CAIRNS2"
constexpr std::uint64_t kOldMagic = 0x0031'534e'5249'4143ULL;         // "CAIRNS1"
constexpr std::uint64_t kHeaderMagic = 0x0031'4a4e'5249'4143ULL;      // "CAIRNJ1"
constexpr std::uint32_t kFormat = 2;
constexpr std::uint32_t kHeaderFormat = 1;
constexpr std::size_t kCrcAt = 12;  // in both
constexpr std::uint32_t kFlagJournal = 1;
constexpr std::uint32_t kFlagOldRing = 1;

bool is_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Of the whole block, the field itself as zero.
std::uint32_t block_crc(Bytes block) {
  const std::byte zero[4] = {};
  std::uint32_t crc = crc32c(block.first(kCrcAt));
  crc = crc32c(zero, crc);
  return crc32c(block.subspan(kCrcAt + sizeof zero), crc);
}

Buffer seal_block(const std::string& bytes) {
  CHECK_LE(bytes.size(), kBlockBytes);
  Buffer block = Buffer::zeroed(kBlockBytes);
  std::memcpy(block.data(), bytes.data(), bytes.size());
  store_le(block.data() + kCrcAt, block_crc(std::as_const(block).span()));
  return block;
}

void put_place(ByteWriter& out, const RingPlace& place) {
  out.put(place.id);
  out.put(place.first);
  out.put(place.blocks);
  out.put(place.journal ? kFlagJournal : 0U);
  out.put(static_cast<std::uint32_t>(place.directory.size()));
  out.append(place.directory);
}
RingPlace get_place(ByteReader& in) {
  RingPlace place;
  place.id = in.get<std::uint64_t>();
  place.first = in.get<std::uint64_t>();
  place.blocks = in.get<std::uint64_t>();
  place.journal = (in.get<std::uint32_t>() & kFlagJournal) != 0;
  place.directory = in.get_bytes(in.get<std::uint32_t>());
  return place;
}

}  // namespace

Status check_place(const RingPlace& place) {
  const bool sane = place.id != 0 && place.blocks >= kRingBlocksMin &&
                    place.blocks <= kRingBlocksMax && place.directory.size() <= kRingDirectoryMax;
  // Inside: behind the superblock, and sums do not run over. Outside: an absolute path.
  const bool inside = place.first >= kReservedBlocks && place.first < UINT64_MAX / kBlockBytes / 2;
  const bool outside = place.first == 0 && place.directory.starts_with('/') &&
                       place.directory.find('\0') == std::string::npos;
  if (sane && (place.external() ? outside : inside)) return {};
  return fail(Code::kCorrupt,
              fmt::format("a journal {:x} of {} blocks at block {} of \"{}\" makes no sense",
                          place.id, place.blocks, place.first, place.directory));
}

Buffer encode(const Superblock& superblock) {
  ByteWriter out;
  out.put(kSuperblockMagic);
  out.put(kFormat);
  out.put(std::uint32_t{0});  // crc
  out.put(superblock.generation);
  out.put(superblock.store_id);
  out.put(superblock.old_ring.has_value() ? kFlagOldRing : 0U);
  put_place(out, superblock.ring);
  if (superblock.old_ring.has_value()) put_place(out, *superblock.old_ring);
  return seal_block(out.take());
}

Result<std::optional<Superblock>> decode_superblock(Bytes block) {
  CHECK_EQ(block.size(), kBlockBytes);
  if (is_zero(block)) return std::optional<Superblock>();
  ByteReader in(as_text(block));
  const auto magic = in.get<std::uint64_t>();
  if (magic == kOldMagic) {
    return fail(Code::kUnsupported,
                "the data file is of the format before journals could be moved");
  }
  const auto format = in.get<std::uint32_t>();
  if (magic != kSuperblockMagic || in.get<std::uint32_t>() != block_crc(block)) {
    return fail(Code::kCorrupt, "the superblock of the data file is damaged");
  }
  if (format != kFormat) {
    return fail(Code::kUnsupported, fmt::format("the data file is of format {}", format));
  }
  Superblock superblock;
  superblock.generation = in.get<std::uint64_t>();
  superblock.store_id = in.get<std::uint64_t>();
  const auto flags = in.get<std::uint32_t>();
  superblock.ring = get_place(in);
  TRY_VOID(check_place(superblock.ring));
  if ((flags & kFlagOldRing) != 0) {
    superblock.old_ring = get_place(in);
    TRY_VOID(check_place(*superblock.old_ring));
  }
  if (!in.ok() || superblock.generation == 0 || superblock.store_id == 0) {
    return fail(Code::kCorrupt, "the superblock of the data file makes no sense");
  }
  return std::optional(std::move(superblock));
}

Buffer encode(const RingHeader& header) {
  ByteWriter out;
  out.put(kHeaderMagic);
  out.put(kHeaderFormat);
  out.put(std::uint32_t{0});  // crc
  out.put(header.ring);
  out.put(header.store_id);
  out.put(header.blocks);
  return seal_block(out.take());
}

Result<RingHeader> decode_ring_header(Bytes block) {
  CHECK_EQ(block.size(), kBlockBytes);
  ByteReader in(as_text(block));
  const auto magic = in.get<std::uint64_t>();
  const auto format = in.get<std::uint32_t>();
  if (magic != kHeaderMagic || in.get<std::uint32_t>() != block_crc(block)) {
    return fail(Code::kCorrupt, "its header is damaged or not one of a journal");
  }
  if (format != kHeaderFormat) {
    return fail(Code::kUnsupported, fmt::format("its format {} is not known", format));
  }
  RingHeader header;
  header.ring = in.get<std::uint64_t>();
  header.store_id = in.get<std::uint64_t>();
  header.blocks = in.get<std::uint64_t>();
  return header;
}

namespace {

// What one slot says. nullopt: zero.
Task<Result<std::optional<Superblock>>> read_slot(io::BlockDevice* device, std::uint64_t slot) {
  Buffer block = Buffer::allocate(kBlockBytes);
  CO_TRY_VOID(co_await device->read(DiskOffset(slot * kBlockBytes), block.span()));
  CO_TRY(std::optional<Superblock> found, decode_superblock(std::as_const(block).span()));
  if (found.has_value() && found->generation % 2 != slot) {
    co_return fail(Code::kCorrupt, "a superblock lies in the slot of the other");
  }
  co_return found;
}

}  // namespace

Task<Result<std::optional<Superblock>>> read_superblock(io::BlockDevice* device) {
  if (device->size() < 2 * kBlockBytes) co_return std::optional<Superblock>();
  Result<std::optional<Superblock>> even = co_await read_slot(device, 0);
  Result<std::optional<Superblock>> odd = co_await read_slot(device, 1);
  // Another version's slot may be the newer one: there is no way back behind it.
  for (const auto* slot : {&even, &odd}) {
    if (!slot->has_value() && slot->error().code() == Code::kUnsupported) {
      co_return fail(slot->error());
    }
  }
  const bool even_valid = even.has_value() && even->has_value();
  const bool odd_valid = odd.has_value() && odd->has_value();
  if (even_valid && odd_valid) {
    if ((*even)->store_id != (*odd)->store_id) {
      co_return fail(Code::kCorrupt, "the two superblocks are of different stores");
    }
    co_return (*even)->generation > (*odd)->generation ? std::move(even) : std::move(odd);
  }
  if (even_valid) co_return even;
  if (odd_valid) co_return odd;
  if (!even.has_value()) co_return even;
  co_return odd;
}

Task<Status> write_superblock(io::BlockDevice* device, Superblock superblock) {
  CHECK_GT(superblock.generation, std::uint64_t{0});
  CHECK(check_place(superblock.ring).has_value());
  const Buffer block = encode(superblock);
  std::vector<io::DeviceWrite> writes;
  writes.push_back({DiskOffset(superblock.generation % 2 * kBlockBytes), {block.span()}});
  FAULT_POINT("store.superblock.begin");
  Status status = co_await device->write_durably(std::move(writes));
  co_return status;
}

}  // namespace cairn::chunkserver::store
