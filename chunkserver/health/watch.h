// Watch: looks at what is under way at the drives, once a period, and says when something is older
// than the limit: a drive that hangs.
//
// Promises: on_hang once, with kTimeout and what hangs since when; until everything is younger
//           again. on_relief then. A process that was stopped for a while itself (SIGSTOP, a paused
//           machine) takes no drive for one that hangs.
// Requires: co_await stop() before it dies; the probes outlive it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/time.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::health {

class Watch {
 public:
  struct Probe {
    std::string name;               // "the drive of /cairn/cs1"
    std::function<Duration()> age;  // of the oldest that is under way; zero: nothing is
    unsigned patience = 1;          // times the limit
  };
  struct Hooks {
    std::function<void(const Error&)> on_hang;
    std::function<void()> on_relief;
  };
  struct Options {
    Duration limit = 30s;
    Duration period = 1s;
  };
  Watch(runtime::Runtime& runtime, std::vector<Probe> probes, Hooks hooks, Options options);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void start();
  Task<void> stop();
  // The oldest of all, now.
  Duration oldest() const;

 private:
  Task<void> run();
  void look();
  bool was_away();

  runtime::Runtime& runtime_;
  std::vector<Probe> probes_;
  Hooks hooks_;
  Options options_;
  Instant looked_at_;
  bool hanging_ = false;
  bool stopping_ = false;
  std::optional<runtime::Completion<bool>> sleeper_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::health
