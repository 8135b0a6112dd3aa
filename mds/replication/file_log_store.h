// FileLogStore: the log as segment files REPO/log/%016x.log (named by the number of their first
// record).
//
// Owns:     the directory; a thread that writes (one write and one fdatasync a batch) and a thread
//           that reads. Space is written with zeros ahead, so that a flush seldom has to change the
//           filesystem's own tables.
// Promises: a torn tail of the last segment is cut when opened; a gap or damage anywhere else is
//           kCorrupt. Every segment begins with what must outlive the ones before it, in the same
//           batch as its first record.
// Requires: the loop thread; the object outlives the tasks it was given.
// Limits:   a segment is closed when it is larger than Options::segment_bytes; reads under way:
//           kReadsMax.
// Errors:   as LogStore. open(): kCorrupt, kDiskFailed; kUnsupported: the log of another version of
//           Cairn.
#pragma once

#include <algorithm>
#include <deque>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/base/limits.h"
#include "mds/replication/helper_thread.h"
#include "mds/replication/log_store.h"
#include "mds/replication/segment_writer.h"
#include "mds/replication/slot_index.h"

namespace cairn::mds::replication {

class FileLogStore final : public LogStore {
 public:
  struct Options {
    ByteCount segment_bytes = limits::kLogSegmentBytes;
    ByteCount zero_ahead_bytes = 1_MiB;
  };
  static Result<std::unique_ptr<FileLogStore>> open(runtime::Runtime& runtime,
                                                    const std::filesystem::path& directory,
                                                    Options options);
  ~FileLogStore() override;
  FileLogStore(const FileLogStore&) = delete;
  FileLogStore& operator=(const FileLogStore&) = delete;

  Task<Status> append(std::vector<paxos::Record> batch) override;
  LogState state() const override { return state_; }
  Result<std::vector<paxos::Accepted>> accepted_after(Slot after) const override;
  // Also kOverloaded: too many reads are under way.
  Task<Result<std::vector<Entry>>> read(Slot from, std::size_t slots_max,
                                        ByteCount bytes_max) override;
  Task<Status> truncate_before(Slot slot) override;
  Slot first_slot() const override { return index_.first(); }
  Slot last_slot() const override { return std::max(last_slot_, state_.chosen); }
  ByteCount size_bytes() const override;
  std::uint64_t flushes() const override { return flushes_; }

  std::size_t segments() const { return segments_.size(); }
  // Number of the newest record.
  Lsn last_lsn() const { return next_lsn_.prev(); }
  // Bytes that were cut as a torn tail when the log was opened.
  ByteCount torn_bytes() const { return torn_bytes_; }

 private:
  struct Segment {
    Lsn first;
    ByteCount bytes = 0;  // of whole batches
    Slot highest;         // of the slots that it has records of
  };
  FileLogStore(runtime::Runtime& runtime, std::filesystem::path directory, Options options);
  Status list_segments();
  Status load_segments();
  Status load_segment(std::size_t index);
  Status open_last_segment(ByteCount file_bytes, bool torn);
  void drop_lost_accepts(std::vector<LogRecord>* batch) const;
  void indexed(const std::vector<LogRecord>& batch, std::uint64_t offset);
  void index_slot(Segment* segment, Slot slot, std::uint64_t offset, std::size_t bytes,
                  bool learned);

  // On the writing thread.
  Status write(const std::string& bytes, bool new_segment, Lsn first);
  Status remove(const std::vector<std::filesystem::path>& paths);

  runtime::Runtime& runtime_;
  const std::filesystem::path directory_;
  const Options options_;

  // Of the loop.
  std::deque<Segment> segments_;  // ascending; only the last one may be without a batch
  SlotIndex index_;
  LogState state_;
  Lsn next_lsn_ = Lsn(1);
  Slot last_slot_;
  Slot floor_;           // what truncate_before() was told
  Slot recorded_floor_;  // of it, what is in the log
  ByteCount torn_bytes_ = 0;
  std::uint64_t flushes_ = 0;
  std::size_t reads_ = 0;
  bool appending_ = false;

  // Of the writing thread while it runs.
  SegmentWriter writer_;
  bool fenced_ = false;

  // Last: they end before what they use.
  std::unique_ptr<HelperThread> writing_;
  std::unique_ptr<HelperThread> reading_;
};

// Moves a damaged log directory out of the way: `directory` is renamed to "NAME.damaged-N",
// durably. The new path.
Result<std::filesystem::path> set_aside(const std::filesystem::path& directory);

}  // namespace cairn::mds::replication
