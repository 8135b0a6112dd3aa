// CsControl: asks a chunk server of this host through its control door, or, when it does not run, a
// cairn-csd that is started for this alone (--offline). Requests and answers are the same
// (common/cluster/control_protocol.h).
//
// Promises: at most one process works on the repository; one that was started here has ended, with
//           its store closed in order, when finish() returns.
// Errors:   those of the chunk server; kNotFound (no cairn-csd to start), kUnavailable, kTimeout
//           (it goes on).
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "common/cluster/control_protocol.h"
#include "common/cluster/control_socket.h"

namespace cairn::admin {

namespace control = cluster::control;

class CsControl {
 public:
  using OnProgress = std::function<void(const control::Json&)>;

  static Result<CsControl> open(const std::string& repository);
  CsControl(CsControl&& other) noexcept;
  CsControl& operator=(CsControl&&) = delete;
  ~CsControl();

  // The daemon answers, not a helper started here.
  bool running() const { return child_ < 0; }
  Result<control::Json> ask(const control::Request& request, const OnProgress& on_progress = {});
  void finish();

 private:
  CsControl(cluster::Socket socket, pid_t child) : socket_(std::move(socket)), child_(child) {}
  Result<std::string> read_line(int milliseconds);

  cluster::Socket socket_;
  pid_t child_ = -1;
  std::string pending_;
};

}  // namespace cairn::admin
