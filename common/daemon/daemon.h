// What every Cairn daemon does around its work: -D to the background, log target, SIGTERM and SIGINT,
// one instance per repository, an exit code.
//
// Used by main.cpp files only.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/observe/log.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task.h"

namespace cairn::daemon {

struct Options {
  bool background = false;        // -D
  std::string log_file;           // -l FILE; "journald"; empty: stderr (background: REPO/logs/log)
  bool verbose = false;           // -v
  std::string name;               // for the log
};

// Goes to the background if asked: returns in the child, with a pipe to the parent, which waits and
// exits 0 after ready() or 1 with the message of failed(). Call before any thread exists.
class Daemon {
 public:
  // Parent of a background start never returns from here.
  static Result<Daemon> start(const Options& options);
  Daemon(Daemon&&) noexcept;
  ~Daemon();

  observe::Log& log();
  // Runs `main` on `runtime` until it ends. `request_stop` runs on the loop at SIGTERM or SIGINT; `main`
  // then has 5 s. Returns the exit code: 0 after a clean end, 1 with the error logged.
  int run(runtime::AsioRuntime& runtime, Task<Status> main, std::function<void()> request_stop);
  // The daemon serves: lets the parent of a background start exit 0.
  void ready();

 private:
  struct State;
  explicit Daemon(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// An flock()ed REPO/lock with the pid; held until the process ends. kBusy names the pid that has it.
Status lock_repository(const std::string& directory);

}  // namespace cairn::daemon
