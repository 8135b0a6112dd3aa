// FileLogStore: the log as segment files REPO/log/%016x.log (named by their first slot).
//
// Owns:     the directory, a thread that writes: one write and one fdatasync a batch. Space is
//           written with zeros ahead, so that a flush seldom has to change the filesystem's own
//           tables.
// Promises: a torn tail of the last segment is cut when opened; a gap or damage anywhere else is
//           kCorrupt.
// Requires: the loop thread; the object outlives the appends it was given.
// Limits:   a segment is closed when it is larger than Options::segment_bytes.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/base/limits.h"
#include "common/runtime/completion.h"
#include "mds/replication/log_store.h"
#include "mds/replication/segment_writer.h"

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

  Task<Status> append(std::vector<Entry> batch) override;
  Status read_from(Slot from, const EntryVisitor& visit) const override;
  Task<Status> truncate_before(Slot slot) override;
  Slot last_slot() const override { return last_slot_; }
  ByteCount size_bytes() const override;
  std::size_t segments() const { return segments_.size(); }
  // Bytes that were cut as a torn tail when the log was opened.
  ByteCount torn_bytes() const { return torn_bytes_; }

 private:
  // What the thread does: a batch to append, or segments to remove.
  struct Job {
    std::string bytes;
    bool rotate = false;  // begin a new segment, named by `first`
    Slot first;
    std::vector<std::filesystem::path> remove;
    runtime::Completion<Status> done;
  };
  FileLogStore(runtime::Runtime& runtime, std::filesystem::path directory, Options options);
  Status open_segments();
  Status open_last_segment();
  Task<Status> submit(Job job);
  void run_thread();
  Status execute(const Job& job);
  Status create_segment(Slot first);

  runtime::Runtime& runtime_;
  const std::filesystem::path directory_;
  const Options options_;

  // Of the loop.
  std::vector<Slot> segments_;  // first slots, ascending
  Slot last_slot_;
  ByteCount last_segment_bytes_ = 0;
  ByteCount torn_bytes_ = 0;
  bool appending_ = false;

  // Of the thread while it runs.
  SegmentWriter writer_;
  bool fenced_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace cairn::mds::replication
