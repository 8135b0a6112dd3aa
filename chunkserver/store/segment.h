// Segment: where 256 neighbouring blocks of a piece lie, with their checksums. UsedRegion: which of
// 4096 neighbouring disk blocks are used. Pure.
//
// Limits: a segment's memory is 12 bytes for each block between its first stored one and its last:
//         a small piece costs little.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cairn::chunkserver::store {

inline constexpr std::uint64_t kSegmentBlocks = 256;
inline constexpr std::uint64_t kRegionBlocks = 4096;

// Where one block lies. Disk block 0 is the superblock, so 0 says: a hole.
struct BlockPlace {
  std::uint64_t disk = 0;
  std::uint32_t crc = 0;
  friend bool operator==(const BlockPlace&, const BlockPlace&) = default;
};

class Segment {
 public:
  // `index` < kSegmentBlocks everywhere.
  BlockPlace get(std::size_t index) const {
    if (index < first_ || index >= end_index()) return {};
    const Slot& slot = slots_[index - first_];
    return {std::uint64_t{slot.disk_high} << 32 | slot.disk_low, slot.crc};
  }
  // A place with disk 0 makes a hole.
  void set(std::size_t index, BlockPlace place);
  bool empty() const { return stored_ == 0; }
  // Blocks that are no holes; all of them have an index in [begin_index(), end_index()).
  std::size_t stored() const { return stored_; }
  std::size_t begin_index() const { return first_; }
  std::size_t end_index() const { return first_ + slots_.size(); }
  std::size_t heap_bytes() const { return slots_.capacity() * sizeof(Slot); }
  friend bool operator==(const Segment& a, const Segment& b);

 private:
  // Twelve bytes instead of the sixteen of a BlockPlace.
  struct Slot {
    std::uint32_t disk_low = 0;
    std::uint32_t disk_high = 0;
    std::uint32_t crc = 0;
  };
  // Makes room for `index`.
  void widen(std::size_t index);

  std::uint16_t first_ = 0;
  std::uint16_t stored_ = 0;
  std::vector<Slot> slots_;
};

// One bit per block.
struct UsedRegion {
  std::array<std::uint64_t, kRegionBlocks / 64> bits = {};
  bool get(std::uint64_t index) const { return (bits[index / 64] >> (index % 64) & 1) != 0; }
  // Turns the bits of [first, first + count) to `used`. False, and nothing is changed beyond the
  // contradiction, when one of them is so already.
  bool mark(std::uint64_t first, std::uint64_t count, bool used);
  bool empty() const;
  friend bool operator==(const UsedRegion&, const UsedRegion&) = default;
};

}  // namespace cairn::chunkserver::store
