// Writer: makes dirty blocks durable at the chunk servers: PREPARE to all participants, decides,
// deals with those who fail, lets the master repair (docs/protocols/data-path.md).
//
// Promises: write_stripe() returns success only when every block that was dirty when it began is
//           decided (P1), and nothing that was sent ever changes. A write that waits (for space,
//           for the minimum) holds no budget and stops nothing else (P8).
// Requires: the exclusive lease; the stripe's lock held by the caller. co_await stop() before it
//           dies, after the session and the links were stopped.
// Errors:   kLeaseExpired (the lease ended; nothing more to do here), kNoSpace and kBelowMinimum
//           when the mount does not wait for ever, kCancelled. Whoever gets another error than
//           kLeaseExpired must abandon the lease: ops may be neither decided nor dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "client/core/chunk_map.h"
#include "client/core/cs_links.h"
#include "client/core/inode.h"
#include "client/core/reader.h"
#include "client/core/retry.h"
#include "client/core/stripe_op.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

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
  // The master holds a chunk to repair it: closes it as soon as its ops are quiet.
  void hold(const InodePtr& inode, const pb::HoldChunk& hold);
  // Holds end, so that the ops that wait for them can.
  void interrupt();
  // Requires: no op is under way any more.
  Task<void> stop();

  // Writes that wait for space or for the minimum, now.
  std::uint64_t waiting() const { return waiting_; }
  std::uint64_t bytes_written() const { return bytes_written_; }

 private:
  using OpPtr = std::shared_ptr<StripeOp>;
  struct Commit;  // one op on its way
  struct Round;   // of PREPAREs
  // Blocks of one piece as they were.
  struct OldRead {
    unsigned piece = 0;
    std::uint64_t row = 0;
    std::uint64_t count = 0;
    Result<std::vector<Buffer>> parts{};
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
  Result<layout::RowPlan> plan(const Inode& inode, const ChunkState& chunk, PieceMask unreadable,
                               StripeSource* source) const;
  Task<Status> read_old(InodePtr inode, ChunkPtr chunk, std::shared_ptr<StripeSource> source,
                        PieceMask* unreadable);
  Task<void> read_run(InodePtr inode, ChunkPtr chunk, unsigned piece, layout::BlockRun run,
                      FileRun blocks, OldRead* read);
  // Requires: the chunk is open and the op was built for what it is now.
  Task<Status> commit(InodePtr inode, ChunkPtr chunk, OpPtr op);
  void begin(Commit* it);
  Task<Status> step(Commit* it);
  Task<Status> send_round(Commit* it);
  Task<Status> resolve_round(Commit* it, std::shared_ptr<const ChunkView> sent_to, Outcome outcome);
  Task<Status> wait_quiet(Commit* it);
  Task<void> send_one(std::shared_ptr<Round> round, unsigned piece);
  Outcome outcome(const Round& round) const;
  static net::Payload prepare(const Commit& it, unsigned piece);
  static void decide(const Commit& it);
  void mark_ahead(const Commit& it);
  Task<void> mark(InodePtr inode, ChunkPtr chunk, layout::RegionMask regions);
  bool is_patient(const Commit& it, const Error& error) const;
  Task<void> pause_for(std::shared_ptr<Event> news, Backoff* backoff);
  PieceMask guess_touch(const Inode& inode) const;
  bool waits_for(const Error& error) const;
  Task<void> pause(Backoff* backoff);
  // A piece that did not take a write because its chunk server could not be reached at the address
  // of `sent_to` is elsewhere by now. Asks the master.
  Task<bool> has_moved(InodePtr inode, ChunkPtr chunk, std::shared_ptr<const ChunkView> sent_to,
                       PieceMask failed);
  void tell_settled(const Inode& inode, ChunkState& chunk);
  Task<void> serve_hold(InodePtr inode, ChunkPtr chunk, pb::HoldChunk hold);
  Task<void> make_fresh(InodePtr inode, ChunkPtr chunk);
  Task<void> close_held(InodePtr inode, ChunkPtr chunk, ChunkId id);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  Session& session_;
  const Options& options_;
  CsLinks& links_;
  ChunkMap& map_;
  Reader& reader_;
  runtime::Semaphore in_flight_;
  runtime::TaskGroup tasks_;  // holds, marks
  std::set<ChunkPtr> held_;
  bool stopping_ = false;
  std::uint64_t waiting_ = 0;
  std::uint64_t bytes_written_ = 0;
};

}  // namespace cairn::client
