// Writer: makes dirty blocks durable at the chunk servers: PREPARE to all participants, decides,
// deals with those who fail (docs/protocols/data-path.md, "Writing").
//
// Promises: write_stripe() returns success only when every block that was dirty when it began is
//           decided (P1), and nothing that was sent ever changes. A write that waits (for space,
//           for the minimum) holds no budget and stops nothing else (P8).
// Requires: the exclusive lease; the stripe's lock held by the caller.
// Errors:   kLeaseExpired (the lease ended; nothing more to do here), kNoSpace and kBelowMinimum
//           when the mount does not wait for ever, kCancelled. Whoever gets another error than
//           kLeaseExpired must abandon the lease: ops may be neither decided nor dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "client/core/chunk_map.h"
#include "client/core/cs_links.h"
#include "client/core/inode.h"
#include "client/core/reader.h"
#include "client/core/retry.h"
#include "client/core/stripe_op.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"

namespace cairn::client {

class Writer {
 public:
  Writer(runtime::Runtime& runtime, observe::Log& log, Session& session, const Options& options,
         CsLinks& links, ChunkMap& map, Reader& reader);

  // Asks until the file has a layout.
  Task<Status> learn_layout(InodePtr inode);
  Task<Status> write_stripe(InodePtr inode, std::uint64_t stripe);
  // After a truncation to `size`: the rest of the chunk becomes holes. Requires: alone with the
  // inode; the block at `size`, if any, is in the cache with its tail zeroed.
  Task<Status> trim(InodePtr inode, ByteCount size);
  // Tells the chunk servers what is decided, so that they can forget how to undo it. `idle`: only
  // chunks without a write for so long. True when there is nothing left to tell.
  bool settle(const InodePtr& inode, Duration idle);

  // Writes that wait for space or for the minimum, now.
  std::uint64_t waiting() const { return waiting_; }
  std::uint64_t bytes_written() const { return bytes_written_; }

 private:
  using OpPtr = std::shared_ptr<StripeOp>;
  struct Sent {
    unsigned piece = 0;
    Status status;
  };
  struct Outcome {
    PieceMask ok = 0;
    PieceMask failed = 0;  // to be dropped
    PieceMask no_space = 0;
    PieceMask again = 0;  // our map was old
    bool fenced = false;
  };

  Task<Result<ChunkPtr>> find_chunk(InodePtr inode, std::uint64_t index);
  Task<Status> write_op(InodePtr inode, ChunkPtr chunk, std::shared_ptr<StripeSource> source);
  Task<Status> get_ready(InodePtr inode, ChunkPtr chunk, std::shared_ptr<StripeSource> source);
  Task<Status> read_old(InodePtr inode, std::shared_ptr<StripeSource> source,
                        std::vector<FileRun> missing);
  Task<Status> commit(InodePtr inode, ChunkPtr chunk, OpPtr op);
  Task<Outcome> send_all(InodePtr inode, ChunkPtr chunk, OpPtr op, OpSeq seq,
                         PieceMask participants, PieceMask pending);
  Task<void> send_one(InodePtr inode, ChunkPtr chunk, OpPtr op, OpSeq seq, PieceMask participants,
                      Sent* sent);
  net::Payload prepare(const Inode& inode, const ChunkState& chunk, const StripeOp& op, OpSeq seq,
                       PieceMask participants, unsigned piece) const;
  PieceMask guess_touch(const Inode& inode) const;
  bool waits_for(const Error& error) const;
  Task<void> pause(Backoff* backoff);
  // A piece that did not take a write because its chunk server could not be reached at the address
  // of `sent_to` is elsewhere by now. Asks the master.
  Task<bool> has_moved(InodePtr inode, ChunkPtr chunk, std::shared_ptr<const ChunkView> sent_to,
                       PieceMask failed);
  Task<Status> drop_failed(InodePtr inode, ChunkPtr chunk, ChunkVersion version, PieceMask failed);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  Session& session_;
  const Options& options_;
  CsLinks& links_;
  ChunkMap& map_;
  Reader& reader_;
  runtime::Semaphore in_flight_;
  std::uint64_t waiting_ = 0;
  std::uint64_t bytes_written_ = 0;
};

}  // namespace cairn::client
