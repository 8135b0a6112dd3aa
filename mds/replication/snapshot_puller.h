// SnapshotPuller: fetches another member's tables into the vault, part by part.
//
// Promises: goes on with what the vault has of the same snapshot; at most kPartsInFlight parts are
//           asked for at a time, at Options::bytes_per_s. When pull() has answered a newer slot
//           than that of the tables, the snapshot waits complete in the vault: install_incoming()
//           is the caller's, who has to stop using the tables first.
// Requires: the loop thread; vault and caller outlive the pull; one pull() at a time, whose task is
//           not dropped before it ends.
// Errors:   of the calls (kTimeout, kUnavailable, ...) and of the vault; kNotFound: the snapshot is
//           gone there; kProtocol, kCorrupt: the peer answers nonsense; kCancelled. Ask again:
//           nothing is lost.
#pragma once

#include <deque>

#include "common/base/ids.h"
#include "common/rpc/rpc.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"
#include "mds/replication/table_vault.h"
#include "mds/replication/token_bucket.h"

namespace cairn::mds::replication {

class SnapshotPuller {
 public:
  static constexpr std::size_t kPartsInFlight = 4;

  struct Options {
    ClusterId cluster_id;
    NodeId self;
    ByteCount bytes_per_s = 200_MiB;  // 0: no limit
    const bool* stopping = nullptr;   // pull() ends soon after it turns true
    // One call each; stopping takes so long when the peer hangs.
    Duration open_call = 4s;
    Duration part_call = 4s;
    // For the peer to make its snapshot.
    Duration open_wait = 10min;
  };
  SnapshotPuller(runtime::Runtime& runtime, TableVault& vault, rpc::Caller& caller,
                 Options options);
  SnapshotPuller(const SnapshotPuller&) = delete;
  SnapshotPuller& operator=(const SnapshotPuller&) = delete;

  // The slot that the snapshot's tables have applied. When the own tables are as new, nothing is
  // fetched.
  Task<Result<Slot>> pull();

  ByteCount bytes_total() const { return total_; }
  ByteCount bytes_here() const { return here_; }

 private:
  using Bytes = Result<std::string>;
  struct Part {
    std::uint32_t file = 0;
    ByteCount offset = 0;
    ByteCount bytes = 0;
    runtime::Completion<Bytes> done;
  };
  bool stopping() const { return options_.stopping != nullptr && *options_.stopping; }
  Task<Result<Snapshot>> open();
  Task<Status> fetch_all(const Snapshot* snapshot);
  bool ask_next(const Snapshot& snapshot);
  Task<Status> take_front();
  static Task<void> fetch(SnapshotPuller* self, std::uint64_t id, Part part);

  runtime::Runtime& runtime_;
  TableVault& vault_;
  rpc::Caller& caller_;
  const Options options_;
  TokenBucket bucket_;
  runtime::TaskGroup tasks_;
  std::deque<Part> asked_;  // in the order of the bytes
  // The next part to ask for: begins at offset_ of file_.
  std::vector<ByteCount> have_;
  std::size_t file_ = 0;
  ByteCount offset_ = 0;
  ByteCount total_ = 0;
  ByteCount here_ = 0;
};

}  // namespace cairn::mds::replication
