// Scrubber: reads what nobody reads, so that damage is found while the other pieces can still heal
// it: a number of pieces a minute, in rotation over all, in key order; and pieces the master names,
// at once.
//
// Promises: at most one read of it is in flight; what it found damaged the store has noted
//           (StoreDoor::damaged()). The reads of a piece are spread over its share of the minute;
//           each gives way to requests of others while there are any, but not longer than to its
//           successor's time. A piece that vanishes is no error. It goes on where it was after a
//           restart, give or take a few seconds.
// Requires: the loop thread; co_await stop() before it dies; door, log and runtime outlive it.
// Limits:   reads of kScrubReadBlocks; kScrubTasksMax named pieces.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/care/scrub_state.h"
#include "chunkserver/care/scrub_tasks.h"
#include "chunkserver/care/store_door.h"
#include "common/observe/log.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::care {

inline constexpr std::uint64_t kScrubReadBlocks = 1_MiB / kBlockBytes;

struct ScrubberOptions {
  // Where it notes how far it is, "REPO/scrub.state"; empty: nowhere.
  std::string state_path;
  // Runs the file's blocking calls off the loop; empty: on it.
  std::function<Task<Status>(std::move_only_function<Status()>)> offload;
  // Whether the chunk server has requests under way now; empty: never.
  std::function<bool()> busy;
  std::uint32_t pieces_a_minute = 0;  // until the master says
};

class Scrubber {
 public:
  Scrubber(runtime::Runtime& runtime, StoreDoor& door, observe::Log& log, ScrubberOptions options);
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void start();
  Task<void> stop();

  void set_rate(std::uint32_t pieces_a_minute);
  void take_tasks(const std::vector<pb::ScrubTask>& tasks);
  std::vector<pb::ScrubDone> done() const { return tasks_.done(); }
  void reported(const std::vector<pb::ScrubDone>& done) { tasks_.reported(done); }
  pb::ScrubProgress progress() const;

 private:
  // When the reads of a piece are due. Of a named piece: at once, one behind the other.
  struct Pace {
    Instant begin;
    Duration share = {};
    std::uint64_t reads = 1;  // about
    bool rotation = false;
    Instant slot(std::uint64_t read) const;
  };

  Task<void> run();
  Task<void> run_task();
  Task<void> run_rotation();
  Task<ScrubResult> verify(PieceId piece, Pace* pace);
  // Until a read may begin: its time has come, and nobody else is served or waits for longer than
  // fair. Named pieces go first. False: it stops, or the store failed.
  Task<bool> take_turn(Pace* pace, std::uint64_t read);
  // Answers how many blocks of the ranges are damaged.
  Task<Result<std::uint64_t>> verify_ranges(PieceId piece, std::vector<store::BlockRange> ranges);
  // Until then, or something changed.
  Task<void> wait_until(Instant at);
  void wake();
  Task<void> load();
  Task<void> save();
  // A drive that failed or hangs is not written to.
  bool to_save() const { return unsaved_ && !options_.state_path.empty() && !door_.failure(); }
  void end_round();
  Duration share() const;
  bool busy() const { return options_.busy != nullptr && options_.busy(); }
  bool halted() const { return stopping_ || door_.failure().has_value(); }

  runtime::Runtime& runtime_;
  StoreDoor& door_;
  observe::Log& log_;
  ScrubberOptions options_;
  ScrubTasks tasks_;
  ScrubState state_;
  std::uint32_t rate_;
  Instant due_;  // of the next piece of the rotation
  bool stopping_ = false;
  bool unsaved_ = false;
  bool save_failed_ = false;
  Instant saved_at_;
  std::uint64_t blocks_verified_ = 0;
  std::uint64_t damaged_found_ = 0;
  std::optional<runtime::Completion<bool>> sleeper_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::care
