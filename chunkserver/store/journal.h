// Journal: group commit. While one batch is on its way to the disk the next one collects; a batch
// is the data writes of its ops and the journal blocks, then one flush for all of them.
//
// Owns:     the ring of the data file, the queue, the commit task.
// Promises: records are written, made durable, applied and answered in the order of submit();
//           `apply` runs once for each batch, when it is durable and before anyone is told. After a
//           failed write, flush or apply nothing is written any more and everything ends with that
//           error.
// Requires: the loop thread; data lies in fresh space; stop() before it dies. Whoever submits
//           bounds the bytes in flight.
// Limits:   kBatchOpsMax ops, kBatchDataMax bytes and a quarter of the ring for a batch.
// Errors:   kDiskFailed, those of `apply`.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/ring.h"
#include "common/base/time.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

inline constexpr std::size_t kBatchOpsMax = 1024;
inline constexpr ByteCount kBatchDataMax = 32_MiB;

struct JournalGeometry {
  std::uint64_t salt = 0;
  std::uint64_t first_block = 0;  // of the ring, on the disk
  std::uint64_t blocks = 0;
};

class Journal {
 public:
  using Records = std::vector<const Record*>;
  struct Hooks {
    std::function<Status(const Records& records, const JournalPosition& position)> apply;
    // The ring is full or half full: a checkpoint should release() something.
    std::function<void()> on_pressure;
    // Once, at the first failure.
    std::function<void(const Error& error)> on_failure;
  };
  enum class Urgency {
    kNow,
    kSoon,  // nobody waits: it may ride with the next batch, and does not wait longer than
            // kSoonDelay
  };
  static constexpr Duration kSoonDelay = 20ms;

  Journal(runtime::Runtime& runtime, io::BlockDevice& device, JournalGeometry geometry,
          JournalPosition position, Hooks hooks);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void start();
  // Writes what is queued, then ends.
  Task<void> stop();

  // Takes its place in the order now. `data` holds the blocks of a PrepareRecord, else it is empty.
  runtime::Completion<Status> submit(Record record, Buffer data, Urgency urgency);
  // The index has everything up to `sequence`, durably.
  void release(std::uint64_t sequence);

  // Nothing more is written: the index or something else under the store failed.
  void abort(Error error);

  bool busy() const { return committing_ || !queue_.empty(); }
  std::uint64_t used_blocks() const { return ring_.used(); }
  std::uint64_t blocks() const { return ring_.blocks(); }
  const std::optional<Error>& failure() const { return failure_; }

 private:
  struct Entry {
    Record record;
    Buffer data;
    runtime::Completion<Status> done;
  };
  struct DataWrite {
    DiskOffset offset;
    std::vector<Bytes> parts;
  };

  Task<void> run();
  bool due() const;
  std::deque<Entry> take_batch();
  Task<void> commit(std::deque<Entry> batch);
  Task<Status> write_batch(const std::deque<Entry>* batch, const Records* records);
  static std::vector<DataWrite> data_writes(const std::deque<Entry>& batch);
  static Task<void> write_one(io::BlockDevice* device, DataWrite write, Status* first_error);
  void fail_with(Error error);

  runtime::Runtime& runtime_;
  io::BlockDevice& device_;
  JournalGeometry geometry_;
  JournalPosition position_;
  Hooks hooks_;
  JournalRing ring_;
  std::deque<Entry> queue_;
  std::size_t urgent_ = 0;  // in the queue
  bool soon_passed_ = false;
  runtime::TimerId soon_timer_ = 0;
  bool committing_ = false;
  bool stopping_ = false;
  std::optional<Error> failure_;
  runtime::Signal changed_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::store
