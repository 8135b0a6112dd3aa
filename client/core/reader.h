// Reader: whole blocks of a file from its chunk servers, rebuilt from other pieces where some are
// missing, broken or slow. Knows nothing of the cache.
//
// Promises: every block's CRC was checked here; holes are zeros; a slow chunk server costs
//           kSlowRead, then it is read around.
// Requires: a lease on the inode while it reads. Rebuilding needs a row without writes under way:
//           the reader takes the stripe's lock for it, unless the caller says that he has it.
// Errors:   kTooFewPieces or kTimeout at the deadline; kLeaseExpired; those of ChunkMap.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "client/core/chunk_map.h"
#include "client/core/cs_links.h"
#include "client/core/inode.h"

namespace cairn::client {

enum class StripeLock { kFree, kHeld };

class Reader {
 public:
  Reader(runtime::Runtime& runtime, CsLinks& links, ChunkMap& map)
      : runtime_(runtime), links_(links), map_(map) {}

  // Parts in order, together count * 4 KiB. Zeros may share one buffer.
  Task<Result<std::vector<Buffer>>> read(InodePtr inode, FileRun blocks, StripeLock lock,
                                         Deadline deadline);

 private:
  // A run of blocks of one data piece, inside one stripe unless the chunk is made of replicas.
  struct Span {
    ChunkPtr chunk;
    unsigned piece = 0;
    std::uint64_t stripe = 0;  // of the file
    layout::BlockRun run;
  };
  using Parts = std::vector<Buffer>;
  using PartsResult = Result<Parts>;

  Task<void> read_span(InodePtr inode, Span span, StripeLock lock, Deadline deadline,
                       PartsResult* result);
  // A chunk server that cannot be reached may serve at another address by now. Asks the master for
  // it at once, and then now and then.
  Task<void> look_for_moved(InodePtr inode, ChunkPtr chunk, Deadline deadline);
  // One attempt: the piece itself, else the others.
  Task<PartsResult> try_span(InodePtr inode, Span span, StripeLock lock, Deadline deadline);
  Task<PartsResult> rebuild(InodePtr inode, Span span, PieceMask broken, Deadline deadline);
  Task<void> read_into(InodePtr inode, Span span, unsigned piece,
                       std::shared_ptr<const ChunkView> view, Deadline deadline,
                       PartsResult* result);
  Task<PartsResult> read_piece(std::shared_ptr<const ChunkView> view, unsigned piece,
                               layout::BlockRun run, Deadline deadline);

  runtime::Runtime& runtime_;
  CsLinks& links_;
  ChunkMap& map_;
};

// Zeros that nobody may write to.
Buffer zeros(std::size_t bytes);
void append_zeros(std::vector<Buffer>& parts, ByteCount bytes);

}  // namespace cairn::client
