#include "common/daemon/daemon.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <filesystem>

#include "common/daemon/background.h"
#include "common/daemon/memory.h"
#include "common/runtime/task_group.h"

namespace cairn::daemon {
namespace {

constexpr Duration kStopTime = 5s;
constexpr const char* kJournald = "journald";

Status make_log_directory(const std::string& log_file) {
  const std::filesystem::path directory = std::filesystem::path(log_file).parent_path();
  if (directory.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (!error) return {};
  return fail(Code::kUnavailable,
              "cannot make the log directory " + directory.string() + ": " + error.message());
}

bool is_file(const std::string& log_file) { return !log_file.empty() && log_file != kJournald; }

// The log's file must be writable now: spdlog would throw.
Status check_log_file(const std::string& log_file) {
  TRY_VOID(make_log_directory(log_file));
  std::FILE* const file = std::fopen(log_file.c_str(), "ae");
  if (file == nullptr) {
    return fail(Code::kUnavailable,
                "cannot open the log " + log_file + ": " + std::strerror(errno));
  }
  std::fclose(file);
  return {};
}

observe::LogOptions log_options(const Options& options) {
  observe::LogOptions log;
  log.name = options.name;
  log.minimum = options.verbose ? observe::Severity::kDebug : observe::Severity::kInfo;
  if (options.log_file == kJournald) {
    log.target = observe::LogTarget::kJournald;
  } else if (!options.log_file.empty()) {
    log.target = observe::LogTarget::kFile;
    log.file = options.log_file;
  }
  return log;
}

// What happens at signals while main runs.
struct Stopper {
  Stopper(runtime::AsioRuntime& r, observe::Log& l, std::function<void()> request)
      : runtime(r),
        log(l),
        request_stop(std::move(request)),
        signals(r.context(), SIGTERM, SIGINT) {}

  void wait_for_signal() {
    signals.async_wait([this](const boost::system::error_code& error, int number) {
      if (!error) got(number);
    });
  }
  void got(int number) {
    const char* const name = number == SIGINT ? "SIGINT" : "SIGTERM";
    if (std::exchange(stopping, true)) {
      log.error("{} again: ending at once", name);
      ::_exit(1);
    }
    log.info("{}: stopping", name);
    timer = runtime.schedule(runtime.after(kStopTime), [this] {
      log.error("not stopped {} s after the request: ending at once",
                std::chrono::duration_cast<std::chrono::seconds>(kStopTime).count());
      ::_exit(1);
    });
    wait_for_signal();
    if (request_stop) request_stop();
  }
  void finish() {
    runtime.cancel(timer);
    boost::system::error_code ignored;
    signals.cancel(ignored);
  }

  runtime::AsioRuntime& runtime;
  observe::Log& log;
  std::function<void()> request_stop;
  boost::asio::signal_set signals;
  bool stopping = false;
  runtime::TimerId timer = 0;
};

Task<void> run_main(Task<Status> main, Status* outcome, Stopper* stopper) {
  *outcome = co_await main;
  stopper->finish();
  stopper->runtime.stop();
}

}  // namespace

struct Daemon::State {
  std::unique_ptr<observe::Log> log;
  StartReport report;
};

Daemon::Daemon(std::unique_ptr<State> state) : state_(std::move(state)) {}
Daemon::Daemon(Daemon&&) noexcept = default;
Daemon::~Daemon() = default;

Result<Daemon> Daemon::start(const Options& options) {
  std::signal(SIGPIPE, SIG_IGN);
  keep_freed_memory();
  auto state = std::make_unique<State>();
  const bool to_file = is_file(options.log_file);
  if (options.background && options.log_file.empty()) {
    return fail(Code::kInvalidArgument, "in the background a log file is needed (-l)");
  }
  // Before the fork: the caller's terminal still shows what is wrong.
  if (to_file) {
    TRY_VOID(check_log_file(options.log_file));
  }
  if (options.background) {
    TRY(state->report, go_to_background(options.name));
    const Status redirected = redirect_standard_streams(to_file ? options.log_file : std::string());
    if (!redirected.has_value()) {
      state->report.bad(redirected.error().message());
      return fail(redirected.error());
    }
  }
  state->log = observe::make_log(log_options(options));
  return Daemon(std::move(state));
}

observe::Log& Daemon::log() { return *state_->log; }

int Daemon::run(runtime::AsioRuntime& runtime, Task<Status> main,
                std::function<void()> request_stop) {
  Status outcome;
  Stopper stopper(runtime, *state_->log, std::move(request_stop));
  stopper.wait_for_signal();
  runtime::TaskGroup group(runtime);
  group.spawn(run_main(std::move(main), &outcome, &stopper));
  runtime.run();
  CHECK_EQ(group.running(), std::size_t{0});
  if (!outcome.has_value()) {
    failed(outcome.error());
    return 1;
  }
  state_->log->info("ended");
  state_->report.good();
  return 0;
}

void Daemon::ready(const std::string& remark) { state_->report.good(remark); }

void Daemon::failed(int exit_code, const std::string& message) {
  state_->log->error("cannot start: {}", message);
  if (state_->report.is_open()) {
    state_->report.bad(exit_code, message);
  } else {
    std::fprintf(stderr, "%s", message.c_str());
  }
}

void Daemon::failed(const Error& error) {
  state_->log->error("{}", error.to_string());
  state_->report.bad(error.message().empty() ? error.to_string() : error.message());
}

}  // namespace cairn::daemon
