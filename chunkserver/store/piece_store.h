// PieceStore: the pieces of one drive. docs/protocols/data-path.md tells what each call means,
// docs/protocols/chunk-store.md how it is kept.
//
// Owns:     table, journal, home map, space map, the order of everything; not the data device and
//           not the Kv (they outlive it).
// Promises: prepare, seal, resolve and remove answer when durable. An op is there wholly or not at
//           all, whatever crashes when. Reads serve the newest prepared state, every block checked
//           by its CRC. Repeats are harmless. Blocks are reused only when the record that freed
//           them is durable and nobody may look at them. When the store is fenced calls that wait
//           in it end within kFenceLook, also writes that hang in the drive; a read or a flush of
//           its own that hangs there ends when that does.
// Requires: the loop thread; close() before it dies; every call ended before close() returns.
// Limits:   in-flight bytes of Options; kPendingOpsMax undecided ops a piece; kHomelessBlocksMax
//           blocks that are only in the ring. Full means wait.
// Errors:   kPieceMissing, kStaleVersion, kStaleEpoch, kNoSpace, kChecksumMismatch, kOverloaded,
//           kInvalidArgument, kRefusedForSafety, kUnavailable (closing); kDiskFailed, kCorrupt,
//           kJournalFailed or kTimeout: the store is fenced, failure() says why. A kDiskFailed of
//           read() with failure() empty: the drive could not read those blocks.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <unordered_map>

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/direct_writes.h"
#include "chunkserver/store/fence.h"
#include "chunkserver/store/flush_group.h"
#include "chunkserver/store/homer.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/recovery.h"
#include "chunkserver/store/reuse_gate.h"
#include "chunkserver/store/space_map.h"
#include "chunkserver/store/store_words.h"
#include "common/kv/kv.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

class PieceStore {
 public:
  static Task<Result<std::unique_ptr<PieceStore>>> open(runtime::Runtime* runtime,
                                                        io::BlockDevice* device, kv::Kv* kv,
                                                        observe::Log* log, StoreOptions options);
  ~PieceStore();
  PieceStore(const PieceStore&) = delete;
  PieceStore& operator=(const PieceStore&) = delete;

  Task<Status> prepare(PrepareRequest request, Buffer body);
  // `ranges` sorted and disjoint, at most kReadBlocksMax blocks. `verify`: also where options say
  // not to (the scrub).
  Task<Result<ReadAnswer>> read(PieceId piece, std::vector<BlockRange> ranges, bool verify = false);
  // Answers at once; it is durable and done soon, or never after a crash.
  // `version`: of the map in which the piece is current; 0: unknown.
  Task<Status> settle(PieceId piece, OpId below, ChunkVersion version = {});
  // `copy`: a repair begins (fence.h).
  Task<Result<SealAnswer>> seal(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                                bool copy = false);
  Task<Status> resolve(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                       std::vector<OpId> forward);
  // Done already when the piece is not there, or is of a newer version than `most`: it was made
  // anew since somebody wanted it gone.
  Task<Status> remove(PieceId piece, std::optional<ChunkVersion> most = std::nullopt);
  // PREPAREs up to that version find no piece there and make none, until the next start.
  void bury(PieceId piece, ChunkVersion most);
  Task<Result<PieceStatusAnswer>> status(PieceId piece);

  // ---- scrub and healing ----
  Task<Result<std::optional<PieceId>>> next_piece(std::optional<PieceId> after);
  // Blocks that the newest state holds from `first` on, at most `most`. Error: kPieceMissing.
  Task<Result<std::vector<BlockRange>>> stored(PieceId piece, std::uint64_t first,
                                               std::uint64_t most);
  Task<Result<PieceFacts>> facts(PieceId piece);
  // Damaged blocks that are known, by piece and block.
  std::vector<DamagedBlock> damaged() const;
  // Gives damaged blocks their content back. `body` in the order of `blocks`; a block whose bytes
  // do not have the CRC the table holds is refused (kChecksumMismatch, nothing is changed), one
  // that is no longer where it was is left alone.
  Task<Status> heal(PieceId piece, std::vector<DamagedBlock> blocks, Buffer body);

  StoreStatistics statistics() const;
  // What is only in the ring comes home, the table becomes durable, the ring is released.
  Task<Status> checkpoint();
  // The same for everything that was answered before the call.
  Task<Status> commit_all();
  // Another ring; ops go on meanwhile. One at a time: kBusy. kNoSpace, kInvalidArgument,
  // kJournalFailed (new ring): nothing changed; but a ring file is resized by way of a small ring
  // in the data file, and after an error of the second half the ring is there.
  Task<Status> switch_ring(RingPlan plan);
  // Resumes when every record that was submitted before the call is applied.
  Task<void> quiesce();
  // Finishes what is queued and makes a last checkpoint.
  Task<Status> close();
  // Nothing is taken or served from now on.
  void fence(const Error& error);
  // Why the store is fenced.
  const std::optional<Error>& failure() const { return failure_; }
  const Sabotage& sabotage() const { return options_.sabotage; }

  // For tests: the rows and the space map agree, nothing leaks, nothing is used twice. Requires
  // idleness.
  Status check_consistency();

 private:
  // What records on their way will have made of a piece.
  struct Staged {
    FenceState fence;
    std::size_t removals =
        0;  // on their way: while there are any the row in the table does not count
    std::size_t records = 0;
    struct Op {
      OpId op;
      std::uint32_t digest;  // of its content
    };
    std::vector<Op> ops;  // by op
    const Op* find(OpId op) const;
  };
  enum class Verdict { kTake, kDone, kWait };
  struct Check {
    Verdict verdict;
    FenceState fence;
  };
  // Blocks of a piece, read and verified.
  struct Content {
    std::vector<BlockRange> present;
    std::vector<std::uint32_t> crcs;
    Buffer bytes;
  };

  PieceStore(runtime::Runtime& runtime, io::BlockDevice& device, kv::Kv& kv, observe::Log& log,
             StoreOptions options, RecoveredStore recovered);

  Status usable() const;
  // The rows of the piece that a call on these ranges looks at are in memory.
  Task<Status> load(PieceId piece, std::vector<BlockRange> ranges);
  // Requires: loaded.
  Result<FenceState> fence_of(PieceId piece);
  Answer submit(Record record, Buffer body, Journal::Urgency urgency, FenceState after);
  Task<Status> apply(const CommittedBatch* batch);
  Status apply_rows(const CommittedBatch& batch);
  void place_blocks(const CommittedBatch& batch);
  // `brought`: direct homes of the batch that freed them, sorted.
  void free_blocks(const std::vector<Extent>& brought, std::vector<Extent> freed);
  void unstage(const Record& record);
  // The journal will not have it.
  void withdraw(const Record& record);
  // True when blocks came back.
  bool release_freed();

  // piece_writes.cpp
  static Status check_shape(const PrepareRequest& request, const Buffer& body);
  Result<Check> check(const PrepareRequest& request);
  // Finds homes where `extents` is empty, brings direct blocks there, and checks again: with any
  // other verdict than kTake the homes are given back.
  Task<Result<Check>> place(const PrepareRequest* request, const Buffer* body, bool direct,
                            std::vector<Extent>* extents);
  // The same op is on its way already: answers when that one is durable, or was refused.
  Task<Status> await_twin(const PrepareRequest* request);
  Status check_tombstone(const PrepareRequest& request) const;
  bool is_journaled(ByteCount body, bool deltas) const;
  void count_unaligned(const PrepareRequest& request, bool journaled);
  // Homes for `blocks`, maybe after a while; reserve_blocks() are left for upkeep. Error: kNoSpace.
  Task<Result<std::vector<Extent>>> allocate(std::uint64_t blocks);
  // At once or not at all.
  Result<std::vector<Extent>> try_allocate(std::uint64_t blocks);
  bool has_room(std::uint64_t blocks) const;
  // There may be room now: try again. Error: kNoSpace.
  Task<Status> make_room(std::uint64_t blocks);
  Task<Status> grow(std::uint64_t blocks);
  std::uint64_t limit_blocks() const;
  // kUpkeepReserveBlocks, less in a store below 64 MiB.
  std::uint64_t reserve_blocks() const;
  void give_back(const std::vector<Extent>& extents);
  // Direct blocks come home before their record is submitted. With a ring of its own device they
  // must be durable, too: flush_home(); in the data file the flush of the record's batch covers
  // them. `durable`: they are, or there are none.
  Task<Status> write_home(std::vector<Extent> extents, Buffer body);
  Task<Status> flush_home();
  bool lacks_flush(bool durable) const { return !durable && !ring_->shares_data_device(); }
  static Task<void> write_unawaited(PieceStore* self, std::vector<Extent> extents, Buffer body);
  // Neither the homeless blocks (with `journaled` more) nor the changed rows are too many.
  bool has_place(std::uint64_t journaled) const;
  // And there is a share of the budget.
  bool has_turn(ByteCount bytes, std::uint64_t journaled) const;
  Task<Result<runtime::Semaphore::Permit>> await_turn(ByteCount bytes, std::uint64_t journaled);
  Task<Result<Check>> load_and_check(const PrepareRequest* request);

  // piece_reads.cpp
  // `through`: as a fold through that op needs it.
  Task<Result<Content>> read_content(PieceId piece, std::vector<BlockRange> ranges,
                                     std::optional<OpId> through, bool verify);
  Task<Result<Content>> read_located(PieceId piece, std::vector<LocatedBlock> blocks,
                                     std::optional<OpId> through, bool verify);
  struct Fetch;
  Task<Status> fetch_all(std::vector<Fetch>* fetches);
  struct Run;
  static Task<void> fetch_run(PieceStore* self, Run run);
  Task<Status> read_blocks(std::optional<std::uint64_t> ring_block, std::uint64_t home,
                           MutableBytes into);
  // The blocks are neighbours at home and nothing lies upon them, as most are that are read.
  bool is_run_at_home(const std::vector<LocatedBlock>& blocks) const;
  Task<Result<Content>> read_run(PieceId piece, std::vector<LocatedBlock> blocks, bool verify);
  // Status of one block that was read as `bytes`; damage is noted.
  Status check_block(PieceId piece, std::uint64_t block, const BlockPlace& place, Bytes bytes,
                     Status status, bool look, std::optional<OpId> through);
  // The first error; every damaged block among them is noted.
  Status check_fetched(PieceId piece, std::vector<Fetch>* fetches, std::optional<OpId> through,
                       bool verify);
  bool still_lies_at(PieceId piece, std::uint64_t block, std::uint64_t home,
                     std::optional<OpId> through);
  void note_damaged(const DamagedBlock& block, const Error& why);

  // piece_folds.cpp
  void fold_soon(PieceId piece);
  void fold_after(PieceId piece, Duration delay);
  void start_folds();
  static Task<void> fold_piece(PieceStore* self, PieceId piece);
  Task<Status> fold_once(PieceId piece, bool* more);
  // Finds homes for `body`, and the record is durable when it answers.
  Task<Status> submit_payload(Record record, Buffer body);
  Status still_fits(const Record& record);
  Task<Result<std::vector<Extent>>> allocate_now(std::uint64_t blocks);

  // piece_upkeep.cpp
  Task<void> run_upkeep();
  bool has_work() const;
  bool would_release() const;
  // Blocks of the ring.
  std::uint64_t release_gain() const;
  std::uint64_t worth_homing() const;
  bool wants_homing() const;
  bool wants_checkpoint() const;
  Duration upkeep_pause() const;
  Task<void> upkeep_wait(Duration most);
  // It has something to do before it wakes up by itself.
  bool upkeep_is_due() const;
  void wake_upkeep();
  Task<Result<std::uint64_t>> home_step();
  Task<Status> home_up_to(std::uint64_t sequence);
  Task<Status> checkpoint_now();
  // The upkeep's own.
  static Task<void> commit_beside(PieceStore* self);
  Task<Result<RingPlace>> place_ring(RingPlan plan);
  // Whoever reads in the ring now has left. Error: the store was fenced meanwhile.
  Task<Status> await_ring_readers();
  Task<Status> switch_to(RingPlan plan);
  Task<Status> drain_and_switch(std::unique_ptr<RingDevice> ring);
  Task<void> drop_old_ring();
  bool is_clean() const;

  runtime::Runtime& runtime_;
  io::BlockDevice& device_;
  kv::Kv& kv_;
  observe::Log& log_;
  StoreOptions options_;
  Superblock superblock_;
  std::unique_ptr<RingDevice> ring_;
  std::unique_ptr<PieceTable> table_;
  HomeMap homes_;
  SpaceMap space_;
  ReuseGate gate_;
  // Brought directly and freed by the newest batch, see free_blocks().
  std::vector<Extent> withheld_;
  Homer homer_;
  FlushGroup data_flush_;
  DirectWrites direct_writes_;
  JournalPosition applied_;
  JournalPosition tail_;  // of the last checkpoint
  std::unordered_map<PieceId, Staged, PieceIdHash> staged_;
  std::uint64_t submitted_ = 0;        // records, since the start
  std::uint64_t applied_records_ = 0;  // or refused
  // Removed pieces and the version they had: a late PREPARE must not bring one back.
  std::map<PieceId, ChunkVersion> tombstones_;
  std::deque<PieceId> tombstone_order_;
  std::map<std::uint64_t, DamagedBlock> damaged_;  // by home
  std::uint64_t checksum_errors_ = 0;
  std::uint64_t read_errors_ = 0;
  std::uint64_t healed_blocks_ = 0;
  std::uint64_t rmw_ = 0;
  std::uint64_t jrmw_ = 0;
  std::optional<Error> failure_;
  bool closing_ = false;
  bool upkeep_ends_ = false;
  bool switching_ = false;
  bool committing_ = false;  // a checkpoint that the upkeep began
  bool growing_ = false;
  bool pressure_ = false;        // the journal waits for room in the ring
  std::size_t space_short_ = 0;  // calls that wait for room on the drive
  std::set<PieceId> folding_;
  std::map<PieceId, Instant> fold_due_;               // pieces that wait to be folded
  std::set<std::pair<Instant, PieceId>> fold_queue_;  // the same by time
  // When the batches that may hold homeless blocks became durable; oldest first.
  std::deque<std::pair<std::uint64_t, Instant>> batch_times_;
  Instant last_batch_;
  Instant last_checkpoint_;
  Epochs ring_reads_;  // what somebody reads in the ring is not released
  std::optional<runtime::Completion<bool>> upkeep_sleep_;
  Instant upkeep_until_;  // when it ends by itself
  runtime::Semaphore write_budget_;
  runtime::Semaphore read_budget_;
  runtime::Mutex checkpoint_mutex_;
  runtime::Mutex homing_mutex_;
  runtime::Signal progress_;  // a batch was applied, blocks came back, or the store failed
  runtime::TaskGroup group_;
  std::unique_ptr<Journal> journal_;
};

}  // namespace cairn::chunkserver::store
