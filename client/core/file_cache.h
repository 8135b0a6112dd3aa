// FileCache: the blocks of one file that this mount knows, in 64 KiB segments keyed by file offset.
// CachePool: the budget that all files of a mount share, and the order in which clean segments go.
//
// Owns:     the bytes. A pure data structure: no clock, no I/O.
// Promises: what claim() handed out for a write-back never changes: a write to those blocks
//           meanwhile gets a fresh copy of the segment. Only segments without dirty or claimed
//           blocks are ever evicted. old() is what the chunk servers have once all that was claimed
//           is decided; where that is not certain it is not kept.
// Requires: the caller keeps the laws of leases; the pool outlives its files.
// Limits:   CachePool's budget: make_room() tells whether a write may allocate. Blocks of reads for
//           partial writes may exceed it by what is under way. Old bytes count into it, have at
//           most kOldShare of it, and go before a write has to wait.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/time.h"
#include "common/base/units.h"

namespace cairn::client {

inline constexpr ByteCount kSegmentBytes = 64_KiB;
inline constexpr std::uint64_t kSegmentBlocks = kSegmentBytes / kBlockBytes;
inline constexpr std::uint64_t kOldShare = 8;  // old bytes: at most an eighth of the budget

class FileCache;

class CachePool {
 public:
  explicit CachePool(ByteCount budget) : segments_max_(budget / kSegmentBytes) {}
  // Evicts clean segments, oldest use first, then forgets old bytes, oldest first, until `segments`
  // more fit. False: they do not.
  bool make_room(std::uint64_t segments);
  // Old bytes count like the segments that they would fill.
  std::uint64_t segments_used() const { return used_ + div_ceil(old_.size(), kSegmentBlocks); }

 private:
  friend class FileCache;
  struct Place {
    FileCache* file;
    std::uint64_t segment;
  };
  struct OldPlace {
    FileCache* file;
    std::uint64_t block;
  };
  std::uint64_t old_max() const { return segments_max_ * kSegmentBlocks / kOldShare; }
  std::uint64_t segments_max_;
  std::uint64_t used_ = 0;
  std::list<Place> clean_;   // least recently used first
  std::list<OldPlace> old_;  // first kept first
};

// A run of blocks of the file.
struct FileRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  friend bool operator==(const FileRun&, const FileRun&) = default;
};

class FileCache {
 public:
  explicit FileCache(CachePool& pool) : pool_(pool) {}
  ~FileCache() { drop_all(); }
  FileCache(const FileCache&) = delete;
  FileCache& operator=(const FileCache&) = delete;

  // How many segments a write of this range would add.
  std::uint64_t missing_segments(FileOffset offset, ByteCount length) const;
  // Blocks that a write of this range would fill only in part, and whose bytes are not here: at
  // most two.
  std::vector<std::uint64_t> unknown_edges(FileOffset offset, ByteCount length) const;
  // Gives a block its bytes (shorter: the rest is zero), unless it has some already.
  void fill(std::uint64_t block, Bytes bytes);
  // Requires: no unknown_edges(). The blocks become dirty. Bytes below `older_end` are at the chunk
  // servers already: a block that keeps some of them is partly written (claim() tells).
  void write(FileOffset offset, Bytes bytes, Instant now, ByteCount older_end = 0);

  // The file's parity is computed over rows: a block of each of `data` cells of `cell_blocks`.
  // From now on the old bytes of a block that turns dirty are kept while its row is not wholly
  // dirty, and until it is claimed; not those of more than a segment written in sequence, whose
  // rows will most likely be whole. data < 2: none are.
  void keep_old(unsigned data, std::uint64_t cell_blocks);
  // The kept bytes of a dirty block, or null.
  const std::byte* old(std::uint64_t block) const;
  std::uint64_t old_blocks() const { return old_.size(); }

  bool valid(std::uint64_t block) const;
  bool dirty(std::uint64_t block) const;
  // How many blocks from `block` on are valid and contiguous in memory, at most `most`, and their
  // bytes.
  std::uint64_t valid_run(std::uint64_t block, std::uint64_t most, const std::byte** bytes) const;
  // Copies a valid block's bytes [at, at + into.size()).
  void copy_out(std::uint64_t block, std::size_t at, MutableBytes into);

  // Dirty blocks in [first, first + count), as runs. Claimed blocks are not dirty any more.
  std::vector<FileRun> dirty_runs(std::uint64_t first, std::uint64_t count) const;
  // Valid blocks, dirty or not.
  std::vector<FileRun> valid_runs(std::uint64_t first, std::uint64_t count) const;
  // The first dirty block at or after `block`.
  std::optional<std::uint64_t> next_dirty(std::uint64_t block) const;
  // Takes up to `most` dirty blocks from `block` on (it is dirty) that lie together in memory for a
  // write-back: they count as clean, and their segment stays until done() or failed(). Sets
  // `partly` when one of them was written in part since its last write-back.
  Buffer claim(std::uint64_t block, std::uint64_t most, bool* partly = nullptr);
  void done(FileRun run);
  // The claimed blocks are dirty again.
  void failed(FileRun run, Instant since);

  // Forgets what lies past `size`, dirty or not; the rest of the block at `size` becomes zero, and
  // dirty if it was here. Requires: nothing past `size` is claimed.
  void truncate(ByteCount size, Instant now);
  void drop_all();
  // Clean blocks only.
  void drop_clean();

  ByteCount dirty_bytes() const { return dirty_blocks_ * kBlockBytes; }
  std::uint64_t claimed_blocks() const { return claimed_blocks_; }
  bool empty() const { return segments_.empty(); }
  // When the oldest dirty block became so.
  Instant dirty_since() const { return dirty_since_; }
  // A write-back of everything begins: what is dirty after it counts from now.
  void restart_age(Instant now) {
    if (dirty_blocks_ != 0) dirty_since_ = now;
  }
  // Grows whenever blocks leave: bytes read from elsewhere before that may be stale.
  std::uint64_t losses() const { return losses_; }
  void check_invariants() const;

 private:
  friend class CachePool;
  struct Segment {
    Buffer bytes;
    std::uint16_t valid = 0;
    std::uint16_t dirty = 0;
    std::uint16_t claimed = 0;  // a write-back is under way
    std::uint16_t lent = 0;     // its senders read these bytes here
    std::uint16_t partly = 0;   // dirty, and written over in part only
    std::optional<std::list<CachePool::Place>::iterator> place;  // among the clean ones
  };
  struct Old {
    Buffer bytes;
    std::list<CachePool::OldPlace>::iterator place;
  };
  Segment& segment_of(std::uint64_t block);
  std::vector<FileRun> runs_of(std::uint16_t Segment::*which, std::uint64_t first,
                               std::uint64_t count) const;
  // Of those of the segment that turn dirty; they still have their old bytes.
  void take_old(std::uint64_t index, const Segment& segment, std::uint16_t blocks);
  void drop_old(std::uint64_t first, std::uint64_t count);
  bool row_is_dirty(std::uint64_t block) const;
  // Whether old bytes of this write's blocks may be of use.
  bool wants_old(FileOffset offset, ByteCount length);
  // Old bytes in the rows of these blocks that nobody needs any more.
  void drop_old_of_full_rows(std::uint64_t first, std::uint64_t last);
  const Segment* find(std::uint64_t block) const;
  void make_writable(Segment& segment, std::uint16_t blocks);
  void update_place(std::uint64_t index, Segment& segment);
  void set_dirty(Segment& segment, std::uint16_t blocks, Instant now);
  void clear_dirty(Segment& segment, std::uint16_t blocks);
  void erase(std::map<std::uint64_t, Segment>::iterator at);
  void evict(std::uint64_t index);

  CachePool& pool_;
  std::map<std::uint64_t, Segment> segments_;
  std::map<std::uint64_t, Old> old_;  // by block
  std::uint64_t row_data_ = 0;        // 0: nothing is kept
  std::uint64_t row_cell_ = 0;
  std::uint64_t run_begin_ = 0;  // bytes written in sequence up to the last ones
  std::uint64_t run_end_ = 0;
  std::uint64_t dirty_blocks_ = 0;
  std::uint64_t claimed_blocks_ = 0;
  std::uint64_t losses_ = 0;
  Instant dirty_since_ = Instant::infinite();
};

}  // namespace cairn::client
