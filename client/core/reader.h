// Reader: whole blocks of a file from its chunk servers, rebuilt from other pieces where some are
// missing, broken or slow. Knows nothing of the cache.
//
// Promises: every block's CRC was checked here; holes are zeros. A read that takes longer than
//           reads of that chunk server usually do is hedged: the others are asked too, and the
//           first answer wins (LatencyBook says when, and how often). After kSlowRead it is read
//           around if others are quick. A block that arrives with a wrong CRC is reported.
// Requires: a lease on the inode while it reads. Rebuilding needs a row without writes under way:
//           the reader takes the stripe's lock for it, unless the caller says that he has it.
//           co_await stop() before it dies, after the links were stopped.
// Errors:   kTooFewPieces or kTimeout at the deadline; kLeaseExpired; those of ChunkMap.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "client/core/chunk_map.h"
#include "client/core/cs_links.h"
#include "client/core/inode.h"
#include "client/core/latency_book.h"
#include "common/runtime/task_group.h"

namespace cairn::client {

enum class StripeLock { kFree, kHeld };

class Reader {
 public:
  Reader(runtime::Runtime& runtime, CsLinks& links, ChunkMap& map)
      : runtime_(runtime), links_(links), map_(map), tasks_(runtime) {}

  // Parts in order, together count * 4 KiB. Zeros may share one buffer.
  Task<Result<std::vector<Buffer>>> read(InodePtr inode, FileRun blocks, StripeLock lock,
                                         Deadline deadline);
  // Blocks of one piece, data or parity, once more if their CRC is wrong: nothing is read around.
  // Parts as above.
  Task<Result<std::vector<Buffer>>> read_piece(std::shared_ptr<const ChunkView> view,
                                               unsigned piece, layout::BlockRun run,
                                               Deadline deadline);
  // Reads that asked others too, so far.
  std::uint64_t hedged() const { return hedged_; }
  Task<void> stop();

 private:
  // A run of blocks of one data piece, inside one stripe unless the chunk is made of replicas. It
  // stays what it is when the lease ends under it and the file gets another encoding.
  struct Span {
    ChunkPtr chunk;
    erasure::Encoding encoding;
    unsigned piece = 0;
    std::uint64_t stripe = 0;  // of the file
    layout::BlockRun run;
  };
  using Parts = std::vector<Buffer>;
  using PartsResult = Result<Parts>;
  struct Race;  // a direct read and its hedge
  struct Raced {
    PartsResult result;
    bool all_asked = false;  // the others failed too
  };

  Task<void> read_span(InodePtr inode, Span span, StripeLock lock, Deadline deadline,
                       PartsResult* result);
  // A chunk server that cannot be reached may serve at another address by now, a missing piece may
  // have been repaired. Asks the master at once, and then now and then.
  Task<void> look_for_moved(InodePtr inode, ChunkPtr chunk, Deadline deadline);
  // One attempt: the piece itself, else the others.
  Task<PartsResult> try_span(InodePtr inode, Span span, StripeLock lock, Deadline deadline);
  unsigned choose(const ChunkView& view, PieceMask readable, const Span& span, bool replicas);
  Task<Raced> race(InodePtr inode, Span span, StripeLock lock,
                   std::shared_ptr<const ChunkView> view, unsigned piece, Deadline deadline);
  bool is_quick(const std::string& address);
  bool may_hedge(const Span& span, const ChunkView& view, unsigned piece, bool late);
  Task<void> run_direct(std::shared_ptr<Race> race, std::shared_ptr<const ChunkView> view,
                        unsigned piece, layout::BlockRun run, Deadline deadline);
  Task<void> run_others(std::shared_ptr<Race> race, InodePtr inode, Span span, StripeLock lock,
                        PieceMask broken, Deadline deadline);
  void report(const ChunkView& view, unsigned piece, const std::vector<layout::BlockRun>& wrong);
  static bool must_lock(const Inode& inode, const Span& span, StripeLock lock);
  Task<PartsResult> rebuild(InodePtr inode, Span span, PieceMask broken, Deadline deadline);
  Task<void> read_into(InodePtr inode, Span span, unsigned piece,
                       std::shared_ptr<const ChunkView> view, Deadline deadline,
                       PartsResult* result);

  runtime::Runtime& runtime_;
  CsLinks& links_;
  ChunkMap& map_;
  runtime::TaskGroup tasks_;  // direct reads and hedges, also those that lost
  LatencyBook book_;
  std::uint64_t hedged_ = 0;
};

// Zeros that nobody may write to.
Buffer zeros(std::size_t bytes);
void append_zeros(std::vector<Buffer>& parts, ByteCount bytes);

}  // namespace cairn::client
