// LeaseKeeper: gets, uses and gives back the leases of inodes (docs/protocols/namespace.md).
//
// Owns:     the table of inodes, their leases, pins and handles at the master.
// Promises: a Usage means that the lease is held and valid; a recall waits until no Usage is left,
//           flushes, makes the kernel forget, and only then gives the lease back. Leases stay after
//           close until recalled, or until the table is full (oldest use first).
// Limits:   kInodesMax idle inodes; kUnpinBatch unpins a message.
// Requires: the loop thread; co_await stop() before it dies.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <set>
#include <unordered_map>

#include "client/core/inode.h"
#include "client/core/session.h"
#include "common/observe/log.h"

namespace cairn::client {

// Works under the lease of an inode while it lives.
class Usage {
 public:
  Usage() = default;
  explicit Usage(InodePtr inode);
  Usage(Usage&& other) noexcept = default;
  Usage& operator=(Usage&& other) noexcept;
  ~Usage() { end(); }
  void end();

 private:
  InodePtr inode_;
};

// Alone with an inode: the gate is closed and nobody else is active.
class Alone {
 public:
  Alone() = default;
  Alone(InodePtr inode, runtime::Semaphore::Permit barrier);
  Alone(Alone&& other) noexcept = default;
  Alone& operator=(Alone&& other) noexcept;
  ~Alone() { end(); }
  void end();

 private:
  InodePtr inode_;
  runtime::Semaphore::Permit barrier_;
};

class LeaseKeeper {
 public:
  // Writes everything delayed of an inode to the chunk servers (not its size to the master).
  using Flush = std::function<Task<Status>(InodePtr inode)>;

  LeaseKeeper(runtime::Runtime& runtime, observe::Log& log, Session& session,
              const Options& options, CachePool& pool);

  void on_flush(Flush flush) { flush_ = std::move(flush); }
  void on_invalidate(FileSystem::Invalidate invalidate) { invalidate_ = std::move(invalidate); }

  InodePtr get(InodeId id);
  InodePtr find(InodeId id) const;  // null when nothing is held of it

  // Waits until a lease of at least `mode` is held and no recall is in the way.
  // Errors: kTimeout, kCancelled, those of AcquireLease.
  Task<Result<Usage>> enter(InodePtr inode, pb::LeaseMode mode, Deadline deadline);
  // The same, alone.
  Task<Result<Alone>> enter_alone(InodePtr inode, pb::LeaseMode mode, Deadline deadline);
  // Waits for a gate that is closed, and counts as active under whatever is held.
  Task<Result<Usage>> join(InodePtr inode, Deadline deadline);
  // True while what was learned under `serial` may be told.
  bool holds(const Inode& inode, std::uint64_t serial) const;

  // A file that was created with its exclusive lease and pin.
  void install_created(InodePtr inode, const pb::MakeNodeReply& reply, std::uint64_t generation);
  // Counts a handle; makes sure of lease and pin.
  Task<Status> open(InodePtr inode, OpenMode mode, Deadline deadline);
  void release(InodePtr inode, OpenMode mode);

  void recall(pb::RecallLease recall);
  pb::Reclaim held() const;
  void session_gone();
  // The leases may have run out by our clock (the master does not answer): what the kernel caches
  // is not to be believed until the session is heard of again. Ours is not used meanwhile.
  void drop_all_pages();
  // Delayed data cannot be written: it is dropped, `error` is reported, the lease goes back
  // unsettled.
  void abandon(InodePtr inode, Error error);
  // Gives back what is held, at once and with nothing of it used any more: for a file that was not
  // written. What is delayed all the same is dropped without a word, and the lease is unsettled.
  void surrender(InodePtr inode);
  // As a recall does: quiet, flushed, told, given back. kBusy: it is held all the same.
  Task<Status> give_back_clean(InodePtr inode);

  // Sends unpins, forgets what is over the limit.
  void tick();
  // Gives all leases back after flushing; then no task is left.
  Task<Status> release_all(Deadline deadline);
  Task<void> stop();

  // Time enough to outwait a holder that does not answer.
  Deadline lease_deadline() const;

 private:
  struct Entry {
    InodePtr inode;
    std::list<InodeId>::iterator place;
  };
  Task<Result<Usage>> enter_pinned(InodePtr inode, pb::LeaseMode mode, bool pin, Deadline deadline);
  Task<Status> acquire(InodePtr inode, pb::LeaseMode mode, bool pin, Deadline deadline);
  // Nothing that is known or delayed counts any more; its epoch is not used again.
  void lose(const InodePtr& inode, Error error);
  Status install(const InodePtr& inode, const pb::AcquireLeaseReply& reply, bool pin);
  Task<void> serve_recall(pb::RecallLease recall);
  Task<void> answer_unheld(pb::RecallLease recall);
  // Quiet, flushed, forgotten by the kernel, then given back down to `keep`. After `patience`
  // delayed data is abandoned.
  Task<void> retreat(InodePtr inode, pb::LeaseMode keep, Deadline patience);
  Task<void> lose_patience(InodePtr inode, std::uint64_t serial, Deadline patience,
                           std::shared_ptr<bool> finished);
  Task<void> invalidate_round(InodePtr inode);
  Task<void> invalidate(InodePtr inode);
  Task<void> drop_pages(InodePtr inode);
  Task<void> give_back(InodePtr inode, pb::LeaseMode keep);
  enum class Ops { kSettled, kUnsettled };
  Task<void> give_up(InodePtr inode, LeaseEpoch epoch, Ops ops);
  Task<void> release_idle(InodePtr inode);
  static void set_pinned(Inode& inode);
  void queue_unpin(const Inode& inode);
  Task<void> unpin(pb::ClientRequest request);
  bool granted(const Inode& inode, pb::LeaseMode mode) const;
  bool is_idle(const Entry& entry) const;
  void touch(InodeId id);
  void trim_table();

  runtime::Runtime& runtime_;
  observe::Log& log_;
  Session& session_;
  const Options& options_;
  CachePool& pool_;
  Flush flush_;
  FileSystem::Invalidate invalidate_;
  runtime::TaskGroup tasks_;
  std::unordered_map<InodeId, Entry, StrongHash> inodes_;
  std::list<InodeId> order_;  // least recently used first
  std::set<InodeId> unpins_;
  std::size_t releasing_ = 0;
};

}  // namespace cairn::client
