// What the parts of `cairn inspect` share: where the answer goes, how far the work is, whether it
// is to end.
#pragma once

#include <optional>
#include <string>

#include "admin/commands/inspect.h"
#include "admin/commands/interrupt.h"
#include "admin/commands/report_stream.h"
#include "chunkserver/inspect/inspection.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::admin {

class InspectRun {
 public:
  InspectRun(const Inspect& options, bool json, ReportStream::Print print)
      : options_(options), out_(json, std::move(print)) {}

  const Inspect& options() const { return options_; }
  ReportStream& out() { return out_; }

  // Now and then, while something takes its time. Error: kCancelled.
  Status go_on() const {
    if (interrupt_.happened()) return fail(Code::kCancelled, "It was interrupted");
    return {};
  }
  // The same; shows how far it is: `line` is made only when somebody sees it.
  template <class Line>
  Status step(Line line) {
    TRY_VOID(go_on());
    if (options_.on_progress && due()) {
      options_.on_progress(line());
      shown_ = true;
    }
    return {};
  }
  // What is printed next must not stand behind a line of progress.
  void hide_progress() {
    if (shown_) options_.on_progress("");
    shown_ = false;
  }
  void note_trouble() { trouble_ = true; }
  bool trouble() const { return trouble_; }

 private:
  bool due() {
    const Instant now = clock_.now();
    if (last_.has_value() && now - *last_ < std::chrono::milliseconds(250)) return false;
    last_ = now;
    return true;
  }

  const Inspect& options_;
  ReportStream out_;
  Interrupt interrupt_;
  runtime::AsioRuntime clock_;
  std::optional<Instant> last_;
  bool shown_ = false;
  bool trouble_ = false;
};

// --check, --piece and --extract: goes through the pieces of one repository.
Status inspect_pieces(InspectRun& run, chunkserver::inspect::Inspection& inspection);

// --extract-files: puts files together from all of them.
Status inspect_files(
    InspectRun& run,
    const std::vector<std::unique_ptr<chunkserver::inspect::Inspection>>& repositories);

}  // namespace cairn::admin
