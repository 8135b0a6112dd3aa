// Going to the background, and the pipe that tells the waiting parent how it went. Used by Daemon
// only.
#pragma once

#include <string>

#include "common/base/result.h"

namespace cairn::daemon {

// The child's end of the pipe. One message ends it; its death without a message is bad news too.
class StartReport {
 public:
  StartReport() = default;
  explicit StartReport(int pipe) : pipe_(pipe) {}
  StartReport(StartReport&& other) noexcept : pipe_(std::exchange(other.pipe_, -1)) {}
  StartReport& operator=(StartReport&& other) noexcept {
    std::swap(pipe_, other.pipe_);
    return *this;
  }
  ~StartReport();
  // True while a parent waits.
  bool is_open() const { return pipe_ >= 0; }
  // The parent prints `remark`, if any, and exits 0.
  void good(const std::string& remark = {});
  void bad(const std::string& message);
  // The parent prints `message` as it is and exits with `exit_code` (1 to 255).
  void bad(int exit_code, const std::string& message);

 private:
  void finish(const std::string& bytes);
  int pipe_ = -1;
};

// Forks twice: the caller goes on as a grandchild without a terminal, in its own session. The first
// process never returns: it exits with what the report says, printing `name` before a bad message.
Result<StartReport> go_to_background(const std::string& name);

// stdin and stdout become /dev/null; stderr is appended to `log_file`, or stays if that is empty.
Status redirect_standard_streams(const std::string& log_file);

}  // namespace cairn::daemon
