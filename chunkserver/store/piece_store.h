// PieceStore: the pieces of one drive. docs/protocols/data-path.md tells what each call means,
// docs/protocols/chunk-store.md how it is kept.
//
// Owns:     table, journal, home map, space map, the order of everything; not the data device and
//           not
//           the Kv (they outlive it).
// Promises: prepare, seal, resolve and remove answer when durable. An op is there wholly or not at
//           all, whatever crashes when. Reads serve the newest prepared state, every block checked
//           by its CRC. Repeats are harmless. Blocks are reused only when the record that freed
//           them is durable and nobody may look at them. When the store is fenced calls that wait
//           in
//           it end within kFenceLook; one whose own request hangs in the drive ends when that does.
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

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/fence.h"
#include "chunkserver/store/flush_group.h"
#include "chunkserver/store/homer.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/read_epochs.h"
#include "chunkserver/store/recovery.h"
#include "chunkserver/store/reuse_gate.h"
#include "chunkserver/store/sabotage.h"
#include "chunkserver/store/space_map.h"
#include "common/kv/kv.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

struct StoreOptions {
  // The ring of a new store; later it is where the superblock says.
  ByteCount journal_bytes = 64_MiB;
  std::string journal_directory;  // empty: in the data file
  bool journal = true;            // false: only records and deltas go to the ring
  OpenRing open_ring;             // needed for rings outside the data file
  RemoveRing remove_ring;
  // Bodies up to this size are journaled, larger ones go straight home.
  ByteCount journal_write_max = 64_KiB;
  ByteCount size_bytes = 0;          // of the data file with its ring; 0: what the filesystem has
  ByteCount grow_bytes = 256_MiB;    // steps of growth
  ByteCount write_budget = 128_MiB;  // bytes of PREPAREs under way
  ByteCount read_budget = 128_MiB;
  ByteCount cache_bytes = 64_MiB;      // of clean rows
  ByteCount dirty_bytes_max = 32_MiB;  // of changed rows: a checkpoint is begun at half of it
  ByteCount keep_bytes = 32_MiB;       // of journaled blocks in memory
  bool verify_on_read = true;          // make-cs -S: false
  Duration home_delay = 1s;            // a journaled block may wait so long for company
  Duration fold_delay = 200ms;         // and a decided delta
  // Runs a blocking call (the Kv) off the loop; empty: on it.
  Offload offload;
  Sabotage sabotage;  // tests of the tests only
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
  std::vector<std::uint32_t> crcs;  // of the body: writes, then deltas; verified by the caller
  std::vector<BlockRange> zeroes;   // sorted, disjoint, apart from writes
  std::vector<BlockRange> deltas;   // sorted, disjoint, apart from both
  bool unaligned = false;           // for the RMW counters
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

// A block whose bytes are not what its CRC says, or that the drive could not read.
struct DamagedBlock {
  PieceId piece;
  std::uint64_t block = 0;
  std::uint64_t home = 0;
  std::uint32_t crc = 0;  // of the right content
  friend auto operator<=>(const DamagedBlock&, const DamagedBlock&) = default;
};
// Blocks that only folds and heals may take: a full store can still make its deltas whole.
inline constexpr std::uint64_t kUpkeepReserveBlocks = kPrepareBlocksMax;
// How often a call that waits for its turn looks whether the store was fenced.
inline constexpr Duration kFenceLook = 500ms;
inline constexpr std::size_t kDamagedBlocksMax =
    65536;  // remembered; the scrub finds the rest again

struct StoreStatistics {
  ByteCount space_bytes = 0;
  ByteCount free_bytes = 0;
  std::uint64_t pieces = 0;
  ByteCount used_bytes = 0;
  std::uint64_t checksum_errors = 0;  // since the start
  std::uint64_t read_errors = 0;
  std::uint64_t damaged_blocks = 0;  // now
  std::uint64_t healed_blocks = 0;   // since the start
  std::uint64_t rmw = 0;
  std::uint64_t jrmw = 0;
  bool journal = true;
  std::string journal_directory;
  ByteCount journal_bytes = 0;
  ByteCount journal_used_bytes = 0;
  ByteCount journal_backlog_bytes = 0;  // not at home yet
  bool clean = true;                    // nothing to commit: the ring may be lost without loss
};

// Where the ring should go; see StoreOptions.
struct RingPlan {
  std::string directory;
  ByteCount bytes = 0;
  bool journal = true;
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
  // `ranges` sorted and disjoint, at most kReadBlocksMax blocks. `verify`: also where options say
  // not
  // to (the scrub).
  Task<Result<ReadAnswer>> read(PieceId piece, std::vector<BlockRange> ranges, bool verify = false);
  // Answers at once; it is durable and done soon, or never after a crash.
  Task<Status> settle(PieceId piece, OpId below);
  Task<Result<SealAnswer>> seal(PieceId piece, ChunkVersion version, LeaseEpoch epoch);
  Task<Status> resolve(PieceId piece, ChunkVersion version, LeaseEpoch epoch,
                       std::vector<OpId> forward);
  // Done already when the piece is not there.
  Task<Status> remove(PieceId piece);
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
  // do
  // not have the CRC the table holds is refused (kChecksumMismatch, nothing is changed), one that
  // is
  // no longer where it was is left alone.
  Task<Status> heal(PieceId piece, std::vector<DamagedBlock> blocks, Buffer body);

  StoreStatistics statistics() const;
  // What is only in the ring comes home, the table becomes durable, the ring is released.
  Task<Status> checkpoint();
  // The same for everything that was answered before the call.
  Task<Status> commit_all();
  // Another ring; ops go on meanwhile. kNoSpace, kInvalidArgument, kJournalFailed (new ring):
  // nothing
  // changed. One at a time: kBusy.
  Task<Status> switch_ring(RingPlan plan);
  // Resumes when every record that was submitted before the call is applied.
  Task<void> quiesce();
  // Finishes what is queued and makes a last checkpoint.
  Task<Status> close();
  // Nothing is taken or served from now on.
  void fence(const Error& error);
  // Why the store is fenced.
  const std::optional<Error>& failure() const { return failure_; }

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
    std::map<OpId, std::uint32_t> ops;  // with a digest of the content
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
  runtime::Completion<Status> submit(Record record, Buffer body, Journal::Urgency urgency,
                                     FenceState after);
  Task<Status> apply(const CommittedBatch* batch);
  Status apply_rows(const CommittedBatch& batch);
  void place_blocks(const CommittedBatch& batch);
  void free_blocks(const CommittedBatch& batch, std::vector<Extent> freed);
  void unstage(const Record& record);
  // The journal will not have it.
  void withdraw(const Record& record);
  // True when blocks came back.
  bool release_freed();

  // piece_writes.cpp
  Result<Check> check(const PrepareRequest& request);
  // The same op is on its way already: answers when that one is durable.
  Task<Status> await_twin(PieceId piece, OpId op);
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
  // kUpkeepReserveBlocks, less in a tiny store.
  std::uint64_t reserve_blocks() const;
  void give_back(const std::vector<Extent>& extents);
  // With a ring of its own device: direct blocks come home, durably, before their record.
  Task<Status> write_home(const std::vector<Extent>* extents, const Buffer* body);
  static Task<void> write_one(io::BlockDevice* device, io::DeviceWrite write, Status* first);
  Task<Result<runtime::Semaphore::Permit>> await_turn(std::size_t body, std::uint64_t blocks);
  Task<Result<Check>> load_and_check(const PrepareRequest* request);

  // piece_reads.cpp
  // `through`: as a fold through that op needs it.
  Task<Result<Content>> read_content(PieceId piece, std::vector<BlockRange> ranges,
                                     std::optional<OpId> through, bool verify);
  Task<Result<Content>> read_located(PieceId piece, std::vector<LocatedBlock> blocks,
                                     std::optional<OpId> through, bool verify);
  struct Fetch;
  Task<Status> fetch_all(std::vector<Fetch>* fetches);
  static Task<void> fetch_run(PieceStore* self, Fetch* first, std::size_t count);
  static Task<void> fetch_from_ring(PieceStore* self, Fetch* fetch, std::uint64_t ring_block);
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
  Duration commit_interval() const;
  std::uint64_t worth_homing() const;
  bool wants_homing() const;
  bool wants_checkpoint() const;
  Duration upkeep_pause() const;
  Task<void> upkeep_wait(Duration most);
  void wake_upkeep();
  Task<Result<std::uint64_t>> home_step();
  Task<Status> home_up_to(std::uint64_t sequence);
  Task<Status> checkpoint_now();
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
  JournalPosition applied_;
  JournalPosition tail_;  // of the last checkpoint
  std::map<PieceId, Staged> staged_;
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
  ReadEpochs ring_reads_;  // what somebody reads in the ring is not released
  std::optional<runtime::Completion<bool>> upkeep_sleep_;
  runtime::Semaphore write_budget_;
  runtime::Semaphore read_budget_;
  runtime::Mutex checkpoint_mutex_;
  runtime::Mutex homing_mutex_;
  runtime::Signal progress_;  // a batch was applied, blocks came back, or the store failed
  runtime::TaskGroup group_;
  std::unique_ptr<Journal> journal_;
};

}  // namespace cairn::chunkserver::store
