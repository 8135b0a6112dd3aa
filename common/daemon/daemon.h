// What every Cairn daemon does around its work: -D to the background, log target, SIGTERM and
// SIGINT, one instance per repository, an exit code.
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
  bool background = false;  // -D
  // -l FILE; "journald"; empty: stderr. In the background a file or journald is needed: main fills
  // in REPO/logs/log. Its directory is made. A failed CHECK is printed there too.
  std::string log_file;
  bool verbose = false;  // -v
  std::string name;      // for the log
};

// Goes to the background if asked: returns in the child, with a pipe to the parent, which waits and
// exits 0 after ready(), or 1 with a message on stderr after failed(), an error of run() or the
// child's death. The working directory stays, so relative paths mean the same. SIGPIPE is ignored
// from here on. Call before any thread exists.
class Daemon {
 public:
  // Parent of a background start never returns from here.
  static Result<Daemon> start(const Options& options);
  Daemon(Daemon&&) noexcept;
  ~Daemon();

  observe::Log& log();
  // Runs `main` on `runtime` until it ends. `request_stop` runs on the loop at the first SIGTERM or
  // SIGINT; `main` then has 5 s, else the process ends with code 1 and says so. A second signal
  // ends it at once. Returns the exit code: 0 after a clean end, 1 with the error logged
  // (failed()).
  int run(runtime::AsioRuntime& runtime, Task<Status> main, std::function<void()> request_stop);
  // The daemon serves: lets the parent of a background start exit 0. A `remark` is for the person
  // who started it: printed by the parent.
  void ready(const std::string& remark = {});
  // It will not serve: the parent of a background start prints `message` on stderr and exits with
  // `exit_code`; in the foreground it is printed here. The caller ends with the same code.
  void failed(int exit_code, const std::string& message);
  // The daemon cannot serve: logs it, and before ready() tells the parent of a background start.
  void failed(const Error& error);

 private:
  struct State;
  explicit Daemon(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// An flock()ed REPO/lock with the pid; held until the process ends. kBusy names the pid that has
// it. Call after Daemon::start(): the pid is that of the caller. Other errors: kNotFound,
// kAccessDenied, kReadOnly, kDiskFailed.
Status lock_repository(const std::string& directory);

}  // namespace cairn::daemon
