// Homer: brings journaled blocks from the ring to their homes in the data file.
//
// Promises: one step takes the oldest blocks, reads from the ring what memory does not hold (each
//           block checked by its CRC: a damaged ring is kJournalFailed, never written home), writes
//           neighbours together, and tells the home map. Blocks that die meanwhile are skipped.
// Requires: the loop thread; one step at a time; everything it is given outlives it. The gate is
//           held while homes are written: none of them is reused meanwhile.
// Errors:   kDiskFailed (home), kJournalFailed (ring).
#pragma once

#include "chunkserver/store/home_map.h"
#include "chunkserver/store/reuse_gate.h"
#include "chunkserver/store/ring_device.h"

namespace cairn::chunkserver::store {

class Homer {
 public:
  Homer(runtime::Runtime& runtime, io::BlockDevice& data, HomeMap& homes, ReuseGate& gate)
      : runtime_(runtime), data_(data), homes_(homes), gate_(gate) {}

  // At most `blocks_max`; the number of blocks that were taken: they are at home now, or dead. 0:
  // there was nothing to take. After an error the blocks stay taken: the store is of no more use.
  Task<Result<std::uint64_t>> step(RingDevice* ring, std::size_t blocks_max);

 private:
  // What the parts of one step share.
  struct Step;
  static Task<Status> fetch(Step* step);
  static Task<void> fetch_run(Step* step, std::vector<std::size_t> run);
  static Task<Status> write_home(Step* step);
  static Task<void> write_run(Step* step, std::vector<std::size_t> run);
  static bool is_right(const HomeMap::Homeless& block);

  runtime::Runtime& runtime_;
  io::BlockDevice& data_;
  HomeMap& homes_;
  ReuseGate& gate_;
};

}  // namespace cairn::chunkserver::store
