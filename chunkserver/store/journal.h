// Journal: group commit. While one batch is on its way to the disk the next one collects; a batch
// is one write of records and journaled blocks to the ring, then one flush of the ring's device:
// when that is the data file's the flush also covers what was written there before submit().
// docs/protocols/chunk-store.md.
//
// Owns:     the queue, the commit task, what of the ring is in use.
// Promises: records are written, made durable, applied and answered in the order of submit();
//           `apply` runs once for each batch, when it is durable and before anyone is told, never
//           two at a time. After a failed write, flush or apply, or abort(), nothing is written any
//           more and everything ends with that error at once, also what hangs in the device: its
//           memory stays until the device lets go.
//           stop() always ends: in order when nothing failed. After a failure it gives a write that
//           is in the device kStopGrace to come back (and waits for an `apply` under way); if it
//           does not, hangs() is true from then on.
// Requires: the loop thread; stop() before it dies. Whoever submits bounds the bytes in flight.
//           When hangs() is true after stop(), the ring and the runtime must live until the device
//           lets go: to the end of the process.
// Limits:   kBatchOpsMax ops, kBatchDataMax bytes, kBatchBlocksMax blocks and a quarter of the ring
//           for a batch; a record that alone is more goes alone.
// Errors:   kDiskFailed, kJournalFailed, those of `apply`; kNoSpace: the record does not fit into
//           the whole ring (only that record fails).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/answer.h"
#include "chunkserver/store/ring.h"
#include "chunkserver/store/ring_device.h"
#include "common/base/time.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

inline constexpr std::size_t kBatchOpsMax = 1024;
inline constexpr ByteCount kBatchDataMax = 32_MiB;

// A batch that is durable.
struct CommittedBatch {
  std::vector<Record*> records;       // nobody needs their lists after `apply`
  std::vector<const Buffer*> bodies;  // beside records: the journaled blocks of each, maybe empty
  JournalPosition position;
  std::uint64_t first_data_block = 0;  // of the ring: where its journaled blocks begin
};

class Journal {
 public:
  struct Hooks {
    bool ack_before_flush = false;  // Sabotage
    bool flush_own_only = false;    // Sabotage
    std::function<Task<Status>(const CommittedBatch* batch)> apply;
    // The ring is full or half full: a checkpoint should release() something.
    std::function<void()> on_pressure;
    // A record that no batch of this ring can hold; its caller hears kNoSpace.
    std::function<void(const Record& record)> on_refused;
    // Once, at the first failure.
    std::function<void(const Error& error)> on_failure;
  };
  enum class Urgency {
    kNow,
    kSoon,  // nobody waits: it may ride with the next batch, and does not wait longer than
            // kSoonDelay
  };
  static constexpr Duration kSoonDelay = 20ms;
  static constexpr Duration kStopGrace = 1s;

  // `ring` outlives it. `position`: the last batch there is; `live`: what is not released, up to
  // `position`.
  Journal(runtime::Runtime& runtime, RingDevice& ring, JournalPosition position,
          std::vector<RingUsage::Live> live, Hooks hooks);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Writes what is queued, then ends; a pause ends with it.
  Task<void> stop();

  // Takes its place in the order now. `body`: the blocks of a journaled record. Those of a direct
  // one are at home: the writes have ended when the ring shares the data file's device (the batch's
  // flush begins later and covers them), and are durable when it does not.
  Answer submit(Record record, Buffer body, Urgency urgency);
  // The table has everything up to `sequence`, durably, and nothing up to it is only here.
  void release(std::uint64_t sequence);

  // Resumes when no batch is under way; no further one is begun until resume(). submit() goes on to
  // queue.
  Task<void> pause();
  // Resumes with another ring, empty; the sequence and the chain go on. Requires: paused,
  // everything released; direct blocks of what is queued are as submit() wants them for this ring.
  void resume_with(RingDevice& ring);
  void resume();

  // Nothing more is written: the table or something else under the store failed.
  void abort(Error error);

  // The next batch waits for room in the ring.
  bool full() const { return full_; }
  bool busy() const { return committing_ || !queue_.empty(); }
  // A write did not come back from the device before stop() ended.
  bool hangs() const { return hanging_; }
  const JournalPosition& position() const { return position_; }
  // Position of a batch that was not released. nullopt: released, or not durable yet.
  std::optional<JournalPosition> position_of(std::uint64_t sequence) const;
  std::uint64_t used_blocks() const { return usage_.used(); }
  std::uint64_t blocks() const { return usage_.blocks(); }
  // What release(sequence) would give back.
  std::uint64_t releasable(std::uint64_t sequence) const { return usage_.releasable(sequence); }
  const std::optional<Error>& failure() const { return failure_; }

 private:
  struct Entry {
    Record record;
    Buffer body;
    Answer done;
    ByteCount bytes = 0;       // among the records of a batch, at most
    std::uint64_t blocks = 0;  // behind them
  };
  struct Flight;
  struct Written;
  struct Plan {
    std::size_t entries = 0;
    std::uint64_t blocks = 0;
    ByteCount record_bytes = 0;
  };

  bool due() const;
  // Begins to write if something is due.
  void kick();
  void kick_soon();
  Task<void> run();
  // The next batch: so many from the front of the queue.
  Plan plan() const;
  // Takes it and its place in the ring; nullptr when there is no room.
  std::shared_ptr<Flight> take_batch();
  void refuse_giants();
  void after_take();
  Task<void> commit(std::shared_ptr<Flight> flight);
  void prepare_writes(Flight& flight);
  static Task<void> write(std::shared_ptr<Flight> flight, runtime::Runtime* runtime,
                          RingDevice* ring, bool flush);
  void fail_with(Error error);

  runtime::Runtime& runtime_;
  RingDevice* ring_;
  JournalPosition position_;
  Hooks hooks_;
  RingUsage usage_;
  std::deque<Entry> queue_;
  std::size_t urgent_ = 0;  // in the queue
  bool soon_passed_ = false;
  runtime::TimerId soon_timer_ = 0;
  bool full_ = false;  // there was no room for the next batch; until a release
  bool running_ = false;
  bool committing_ = false;
  bool kick_posted_ = false;
  // Who submits comes in company: the rest of this turn is waited for.
  bool gathering_ = true;
  bool paused_ = false;
  bool stopping_ = false;
  bool hanging_ = false;
  std::optional<Error> failure_;
  std::shared_ptr<Flight> flight_;  // of the batch under way; after a failure of the one that hangs
  runtime::Signal changed_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::store
