// Loads the space map from the used-regions of the index.
#include <fmt/format.h>

#include <bit>

#include "chunkserver/store/store_files.h"
#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

// Takes runs of used blocks that come in order, joined as far as they go.
class Taker {
 public:
  explicit Taker(SpaceMap& space) : space_(space) {}

  Status add(std::uint64_t first, std::uint64_t count) {
    if (run_.count != 0 && run_.end() == first) {
      run_.count += count;
      return {};
    }
    TRY_VOID(finish());
    run_ = {first, count};
    return {};
  }
  // The blocks first + i of every bit i.
  Status add_word(std::uint64_t first, std::uint64_t word) {
    if (word == UINT64_MAX) return add(first, 64);
    while (word != 0) {
      const auto skip = static_cast<std::uint64_t>(std::countr_zero(word));
      const auto count = static_cast<std::uint64_t>(std::countr_one(word >> skip));
      TRY_VOID(add(first + skip, count));
      // Fewer than 64 in all: neither shift is out of range.
      word &= ~(((std::uint64_t{1} << count) - 1) << skip);
    }
    return {};
  }
  Status finish() {
    const Extent run = std::exchange(run_, Extent());
    if (run.count == 0) return {};
    return space_.take(run);
  }

 private:
  SpaceMap& space_;
  Extent run_;
};

}  // namespace

Result<SpaceMap> load_space(const kv::Reader& reader, const RingPlace& ring,
                            const Counters& counters, std::uint64_t end) {
  CHECK_GE(end, kReservedBlocks);
  SpaceMap space(kReservedBlocks, end);
  const std::uint64_t ring_blocks = ring.external() ? 0 : ring.blocks;
  if (ring_blocks != 0) {
    TRY_VOID(space.take({ring.first, ring_blocks}));
  }
  Taker taker(space);
  Status status;
  const std::string end_key = kv::prefix_end(kRegionPrefix);
  TRY_VOID(reader.scan(kRegionPrefix, end_key, [&](std::string_view key, std::string_view value) {
    const Result<std::uint64_t> number = parse_region_key(key);
    const Result<UsedRegion> region = decode_region(value);
    if (!number.has_value() || !region.has_value()) {
      status = fail(Code::kCorrupt, "undecodable index row: region");
      return false;
    }
    for (std::size_t i = 0; i < region->bits.size() && status.has_value(); ++i) {
      status = taker.add_word(*number * kRegionBlocks + 64 * i, region->bits[i]);
    }
    return status.has_value();
  }));
  TRY_VOID(std::move(status));
  TRY_VOID(taker.finish());
  if (space.used_blocks() != counters.used_blocks + ring_blocks) {
    return fail(Code::kCorrupt,
                fmt::format("{} blocks are used but {} are counted",
                            space.used_blocks() - ring_blocks, counters.used_blocks));
  }
  return space;
}

}  // namespace cairn::chunkserver::store
