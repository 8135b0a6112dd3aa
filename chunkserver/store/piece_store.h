// PieceStore: the pieces of one drive. docs/protocols/data-path.md tells what each call means.
//
// Owns:     journal, space map, the order of everything; not the device and not the Kv (they
//           outlive it).
// Promises: prepare, seal, resolve and remove answer when durable. An op is there wholly or not at
//           all, whatever crashes when. Reads serve the newest prepared state, every block checked
//           by its CRC. Repeats are harmless. Blocks are reused only when the record that freed
//           them is durable and no read may look at them.
// Requires: the loop thread; close() before it dies; every call ended before close() returns.
// Limits:   in-flight bytes of Options; kPendingOpsMax undecided ops a piece. Full means wait.
// Errors:   kPieceMissing, kStaleVersion, kStaleEpoch, kNoSpace, kChecksumMismatch, kOverloaded,
//           kInvalidArgument, kRefusedForSafety, kUnavailable (closing), kDiskFailed or kCorrupt:
//           the store is fenced, failure() says why.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/fence.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/piece_index.h"
#include "chunkserver/store/recovery.h"
#include "chunkserver/store/reuse_gate.h"
#include "chunkserver/store/space_map.h"
#include "common/kv/kv.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

struct StoreOptions {
  ByteCount journal_bytes = 64_MiB;  // of a new store
  ByteCount size_bytes = 0;        // of the data file with its journal; 0: what the filesystem has
  ByteCount grow_bytes = 256_MiB;  // steps of growth
  ByteCount write_budget = 128_MiB;  // bytes of PREPAREs under way
  ByteCount read_budget = 128_MiB;
  // Runs a blocking call (the Kv's flush) off the loop; empty: on it.
  std::function<Task<Status>(std::move_only_function<Status()>)> offload;
};

struct PrepareRequest {
  PieceId piece;
  ChunkVersion version;
  OpId op;
  OpSeq settled_below;
  std::uint32_t participants = 0;
  bool create = false;
  PieceFacts facts;
  std::vector<BlockRange> writes;   // sorted, disjoint
  std::vector<std::uint32_t> crcs;  // verified by the caller
  std::vector<BlockRange> zeroes;   // sorted, disjoint, apart from writes
};

struct ReadAnswer {
  std::vector<BlockRange> present;
  std::vector<std::uint32_t> crcs;
  Buffer bytes;  // the blocks of `present`, in order
};

struct UndecidedOp {
  OpId op;
  std::uint32_t participants = 0;
  bool forwarded = false;  // by an earlier resolve: it cannot be dropped any more
  friend bool operator==(const UndecidedOp&, const UndecidedOp&) = default;
};
struct SealAnswer {
  std::vector<UndecidedOp> undecided;  // by op
  OpId settled;
};

struct PieceStatusAnswer {
  ChunkVersion version;
  LeaseEpoch epoch;
  std::uint64_t blocks = 0;
  std::uint32_t undecided = 0;
};

struct StoreStatistics {
  ByteCount space_bytes = 0;
  ByteCount free_bytes = 0;
  std::uint64_t pieces = 0;
  ByteCount used_bytes = 0;
  std::uint64_t checksum_errors = 0;
  std::uint64_t journal_blocks_used = 0;
};

class PieceStore {
 public:
  static Task<Result<std::unique_ptr<PieceStore>>> open(runtime::Runtime* runtime,
                                                        io::BlockDevice* device, kv::Kv* kv,
                                                        observe::Log* log, StoreOptions options);
  ~PieceStore();
  PieceStore(const PieceStore&) = delete;
  PieceStore& operator=(const PieceStore&) = delete;

  Task<Status> prepare(PrepareRequest request, Buffer body);
  // `ranges` sorted and disjoint, at most kReadBlocksMax blocks.
  Task<Result<ReadAnswer>> read(PieceId piece, std::vector<BlockRange> ranges);
  // Answers at once; it is durable and done soon, or never after a crash.
  Task<Status> settle(PieceId piece, OpId below);
  Task<Result<SealAnswer>> seal(PieceId piece, ChunkVersion version, LeaseEpoch epoch);
  Task<Status> resolve(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                       std::vector<OpId> forward);
  // Done already when the piece is not there.
  Task<Status> remove(PieceId piece);
  Result<PieceStatusAnswer> status(PieceId piece) const;

  StoreStatistics statistics() const;
  // The index becomes durable and the journal is released up to here.
  Task<Status> checkpoint();
  // Resumes when every record that was submitted is applied.
  Task<void> quiesce();
  // Finishes what is queued and makes a last checkpoint.
  Task<Status> close();
  // Why the store is fenced.
  const std::optional<Error>& failure() const { return failure_; }
  const RecoveredStore& recovered() const { return recovered_; }

  // For tests: the rows and the space map agree, nothing leaks, nothing is used twice. Requires
  // idleness.
  Status check_consistency() const;

 private:
  // What records on their way will have made of a piece.
  struct Staged {
    FenceState fence;
    bool removed = false;  // a removal is on its way: the committed row does not count
    std::size_t records = 0;
    std::map<OpId, std::uint32_t> ops;  // with a digest of the content
  };
  enum class Verdict { kTake, kDone, kWait };
  struct Check {
    Verdict verdict;
    FenceState fence;
  };

  PieceStore(runtime::Runtime& runtime, io::BlockDevice& device, kv::Kv& kv, observe::Log& log,
             StoreOptions options, RecoveredStore recovered);

  Status usable() const;
  Result<FenceState> fence_of(PieceId piece) const;
  Result<Check> check(const PrepareRequest& request) const;
  // The same op is on its way already: answers when that one is durable.
  Task<Status> await_twin(PieceId piece, OpId op);
  Status check_tombstone(const PrepareRequest& request) const;
  runtime::Completion<Status> submit(Record record, Buffer data, Journal::Urgency urgency,
                                     FenceState after);
  Status apply(const Journal::Records& records, const JournalPosition& position);
  void unstage(const Record& record);
  void fence_store(const Error& error);
  // True when blocks came back.
  bool release_freed();

  // There may be room now: try again. Error: kNoSpace.
  Task<Status> make_room(std::uint64_t blocks);
  Task<Status> grow(std::uint64_t blocks);
  std::uint64_t limit_blocks() const;

  Task<Result<ReadAnswer>> read_blocks(PieceId piece, std::vector<BlockRange> ranges);
  static Task<void> read_run(io::BlockDevice* device, std::uint64_t disk, MutableBytes into,
                             Status* first_error);
  Task<void> checkpoint_in_background();

  runtime::Runtime& runtime_;
  io::BlockDevice& device_;
  kv::Kv& kv_;
  observe::Log& log_;
  StoreOptions options_;
  RecoveredStore recovered_;
  SpaceMap space_;
  Counters counters_;
  ReuseGate gate_;
  std::uint64_t applied_sequence_ = 0;
  std::map<PieceId, Staged> staged_;
  // Removed pieces and the version they had: a late PREPARE must not bring one back.
  std::map<PieceId, ChunkVersion> tombstones_;
  std::deque<PieceId> tombstone_order_;
  std::uint64_t checksum_errors_ = 0;
  std::optional<Error> failure_;
  bool closing_ = false;
  bool checkpoint_queued_ = false;
  runtime::Semaphore write_budget_;
  runtime::Semaphore read_budget_;
  runtime::Mutex grow_mutex_;
  runtime::Mutex checkpoint_mutex_;
  runtime::Signal progress_;  // a batch was applied, blocks came back, or the store failed
  runtime::TaskGroup group_;
  std::unique_ptr<Journal> journal_;
};

}  // namespace cairn::chunkserver::store
