// Writeback: decides when dirty data goes to the chunk servers: a stripe as soon as it is full,
// everything after Options::writeback_age, on fsync and recall, and when room is short. Commits
// size and times.
//
// Owns:     the background tasks of writing back, the list of inodes with delayed data.
// Promises: flush() returns success only when everything that was dirty is decided; what cannot be
//           written is abandoned and reported (P1).
// Limits:   Options::dirty_bytes_per_file and the pool's budget: room() says whether a write fits.
// Requires: the loop thread; co_await stop() before it dies.
#pragma once

#include <cstdint>
#include <map>

#include "client/core/lease_keeper.h"
#include "client/core/writer.h"
#include "common/runtime/task_group.h"

namespace cairn::client {

class Writeback {
 public:
  Writeback(runtime::Runtime& runtime, Session& session, const Options& options,
            LeaseKeeper& leases, Writer& writer, CachePool& pool);

  // Whether a write of this range may go into the cache now.
  bool room(const InodePtr& inode, FileOffset offset, ByteCount length);
  // Makes room if it can; resumes when there may be some.
  Task<void> wait_room(InodePtr inode, Deadline deadline);
  // Bytes of this range became dirty.
  void wrote(InodePtr inode, FileOffset offset, ByteCount length);
  // Starts to write back everything of the inode.
  void start(InodePtr inode);

  Task<Status> flush(InodePtr inode);
  // Size and times to the master, if they are newer.
  Task<Status> commit(InodePtr inode, Deadline deadline);

  void tick();
  Task<void> stop();

 private:
  Task<void> background(InodePtr inode);
  Task<Status> learn_layout(InodePtr inode);
  Task<void> stream_first(InodePtr inode);
  // Begins to write the stripes of this range that are wholly dirty.
  void stream_full(const InodePtr& inode, ByteCount from, ByteCount length);
  Task<void> flush_stripe(InodePtr inode, std::uint64_t stripe, Status* result);
  Task<void> stream_stripe(InodePtr inode, std::uint64_t stripe);

  runtime::Runtime& runtime_;
  Session& session_;
  const Options& options_;
  LeaseKeeper& leases_;
  Writer& writer_;
  CachePool& pool_;
  runtime::TaskGroup tasks_;
  Event room_;
  std::map<InodeId, InodePtr> delayed_;
  bool stopping_ = false;
};

}  // namespace cairn::client
