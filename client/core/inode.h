// Inode: all that this mount holds of one inode: the lease and who works under it, handles, the
// delayed size and times, cached blocks, the chunk map. A record with its invariants; LeaseKeeper,
// ChunkMap, Reader, Writer and Writeback do the work.
//
// Requires: the loop thread. Kept alive by shared_ptr in whoever works on it; InodeTable forgets it
//           only when nobody does.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>

#include "client/core/chunk_state.h"
#include "client/core/event.h"
#include "client/core/file_cache.h"
#include "common/base/result.h"
#include "common/layout/file_layout.h"
#include "common/runtime/semaphore.h"
#include "proto/mds_client.pb.h"

namespace cairn::client {

// Ops on one stripe happen one after the other.
struct StripeSlot {
  explicit StripeSlot(runtime::Runtime& runtime) : lock(runtime) {}
  runtime::Mutex lock;
  unsigned users = 0;   // tasks that hold or want the lock
  bool queued = false;  // a full stripe is on its way
};

struct Inode {
  Inode(runtime::Runtime& runtime, CachePool& pool, InodeId inode)
      : id(inode), changed(runtime), barrier(runtime), commit(runtime), cache(pool) {}

  const InodeId id;

  // The lease. `serial` changes whenever what we know stops being backed by a lease without a
  // break.
  pb::LeaseMode mode = pb::LEASE_NONE;
  LeaseEpoch epoch;
  std::uint64_t generation = 0;  // of the session that granted it
  std::uint64_t serial = 1;
  LeaseEpoch burnt;  // given up under this epoch: must not be used again
  bool acquiring = false;
  unsigned giving_up = 0;     // ReleaseLease is under way: acquire nothing before its answer
  bool invalidating = false;  // the kernel is being told to forget

  // Requests that work under the lease, and the gate that stops new ones.
  unsigned active = 0;
  bool gate_closed = false;
  std::uint64_t served = 0;
  Event changed;           // any of the above
  runtime::Mutex barrier;  // who may close the gate
  runtime::Mutex commit;   // one CommitFile at a time

  // Handles and the pin at the master.
  unsigned readers = 0;
  unsigned writers = 0;
  bool pinned = false;
  bool pin_doubt = false;  // an answer about the pin is missing: to be unpinned when it is closed

  // Known under a lease. Delayed under an exclusive one.
  pb::Attributes attributes;
  ByteCount size = 0;
  bool attributes_dirty = false;  // size or times are newer than the master's
  bool committing = false;        // CommitFile is under way
  bool telling_times = false;     // and it carries times
  bool trim_pending = false;      // bytes past size may be stale at the chunk servers
  bool trimmed = false;           // to be told with the next CommitFile
  ByteCount untold_bytes = 0;     // decided, to be told with the next CommitFile
  ByteCount telling_bytes = 0;    // of the CommitFile under way
  ByteCount stored_end = 0;       // beyond it no piece holds anything but zeros
  std::optional<layout::FileLayout> layout;
  std::map<std::uint64_t, std::shared_ptr<ChunkState>> chunks;  // by index, holes too

  FileCache cache;
  std::map<std::uint64_t, StripeSlot> stripes;  // by stripe of the file, those in use
  bool flushing = false;                        // the ageing flush is under way
  std::optional<Error> error;                   // of delayed writes, not reported yet
  std::uint64_t releases = 0;                   // exclusive leases given back

  // The lease that requests should hold now.
  pb::LeaseMode wanted() const { return writers != 0 ? pb::LEASE_EXCLUSIVE : pb::LEASE_SHARED; }
  unsigned handles() const { return readers + writers; }
  bool has_delayed() const {
    return attributes_dirty || committing || trimmed || cache.dirty_bytes() != 0 ||
           cache.claimed_blocks() != 0;
  }
  // Something for the next CommitFile.
  bool has_untold() const { return attributes_dirty || trimmed || untold_bytes != 0; }
  // The newest attributes, given what the master says. Blocks: those that wait to be written too.
  void overlay(pb::Attributes& from_master) const;
  // Nothing we know is backed by a lease any more.
  void forget();
};

using InodePtr = std::shared_ptr<Inode>;

// Errors: kInvalidArgument.
Result<layout::FileLayout> layout_from(const pb::Layout& layout);
bool same_layout(const layout::FileLayout& a, const layout::FileLayout& b);

// Holds the lock of a stripe (unless its deadline came first); forgets its slot when nobody wants
// it.
class StripeGuard {
 public:
  StripeGuard() = default;
  StripeGuard(InodePtr inode, std::uint64_t stripe, runtime::Semaphore::Permit permit)
      : inode_(std::move(inode)), stripe_(stripe), permit_(std::move(permit)) {}
  StripeGuard(StripeGuard&& other) noexcept = default;
  StripeGuard& operator=(StripeGuard&& other) = delete;
  ~StripeGuard();
  bool held() const { return permit_.held(); }

 private:
  InodePtr inode_;
  std::uint64_t stripe_ = 0;
  runtime::Semaphore::Permit permit_;
};

Task<StripeGuard> lock_stripe(runtime::Runtime* runtime, InodePtr inode, std::uint64_t stripe);
Task<StripeGuard> lock_stripe_until(runtime::Runtime* runtime, InodePtr inode, std::uint64_t stripe,
                                    Deadline deadline);

}  // namespace cairn::client
