// Superblock: what a data file is and where its ring lies: two slots, blocks 0 and 1, the newest
// valid one counts. And the header of a ring file. Pure codecs, and the read and write around them.
// docs/formats/cs-journal.md.
//
// Errors: kCorrupt (no valid slot in a file that was used, nonsense), kUnsupported (another
//         format), kDiskFailed.
#pragma once

#include <optional>
#include <string>

#include "chunkserver/io/block_device.h"

namespace cairn::chunkserver::store {

inline constexpr std::uint64_t kReservedBlocks = 256;  // 0 and 1: superblock; the rest: zero
inline constexpr std::uint64_t kRingBlocksMin = 32;
inline constexpr std::uint64_t kRingBlocksMax = 256_GiB / kBlockBytes;
inline constexpr std::size_t kRingDirectoryMax = 1920;  // two of them fit into a slot

// Where the ring is. `directory` empty: in the data file, blocks [first, first + blocks).
// Else: file "DIRECTORY/cairn-journal", block 0 its header, the ring behind it; `first` is 0.
struct RingPlace {
  std::uint64_t id = 0;  // random, new for every ring
  std::uint64_t first = 0;
  std::uint64_t blocks = 0;
  std::string directory;
  // Small writes go to the ring first. False: only records and deltas do ("no journal" to a user).
  bool journal = true;
  bool external() const { return !directory.empty(); }
  friend bool operator==(const RingPlace&, const RingPlace&) = default;
};

struct Superblock {
  std::uint64_t generation = 0;  // from 1; slot = generation % 2
  std::uint64_t store_id = 0;
  RingPlace ring;
  // A ring given up by the last switch, until it is gone.
  std::optional<RingPlace> old_ring;
  friend bool operator==(const Superblock&, const Superblock&) = default;
};

Buffer encode(const Superblock& superblock);  // one block
// nullopt: a zero block.
Result<std::optional<Superblock>> decode_superblock(Bytes block);
// Does a place of a superblock make sense? Error: kCorrupt.
Status check_place(const RingPlace& place);

// nullopt: never used (both slots zero). One damaged slot beside a valid one is what a torn write
// leaves: the valid one counts, and whoever calls compares its generation with the index.
Task<Result<std::optional<Superblock>>> read_superblock(io::BlockDevice* device);
// Durable when it returns; the other slot is not touched.
Task<Status> write_superblock(io::BlockDevice* device, Superblock superblock);

// Block 0 of a ring file.
struct RingHeader {
  std::uint64_t ring = 0;
  std::uint64_t store_id = 0;
  std::uint64_t blocks = 0;
  friend bool operator==(const RingHeader&, const RingHeader&) = default;
};
Buffer encode(const RingHeader& header);
Result<RingHeader> decode_ring_header(Bytes block);

}  // namespace cairn::chunkserver::store
