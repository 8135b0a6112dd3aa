// Sabotage: breaks one promise of the store on purpose, so that tests can show that they notice.
// All off in production; only the store's simulator and its tests set them. docs/testing.md.
#pragma once

namespace cairn::chunkserver::store {

struct Sabotage {
  bool ack_before_flush = false;       // journal: a batch counts as durable when it is written
  bool flush_own_only = false;         // journal: direct blocks are not flushed with their batch
  bool release_before_flush = false;   // checkpoint: the data file is not flushed first
  bool release_before_index = false;   // checkpoint: the index is not flushed before the release
  bool reuse_while_read = false;       // freed blocks are given away beside reads and homing
  bool skip_forget = false;            // freed homes stay in the home map
  bool skip_last_batch_check = false;  // recovery takes every record of a whole batch
  bool unsure_start = false;           // recovery neither flushes nor makes the table durable
  bool fold_twice = false;             // a fold takes each delta twice
  bool early_superblock = false;       // switch_ring: superblock before the old ring is drained
  bool early_record = false;           // direct blocks are written beside their record, not before
  bool skip_switch_flush = false;      // switch_ring: direct blocks that are queued are not flushed
  bool double_free = false;            // a freed extent is freed again
  bool stale_zeroes = false;           // zeroes of an op leave the old blocks readable
  bool skip_verify = false;            // reads do not look at CRCs
  bool skip_fence = false;             // chunk server: stale ops are taken under the newest epoch
  bool blind_repair = false;           // repair does not copy what the piece had undecided
};

}  // namespace cairn::chunkserver::store
