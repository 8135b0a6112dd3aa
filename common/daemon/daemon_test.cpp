#include "common/daemon/daemon.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "common/runtime/completion.h"

namespace cairn::daemon {
namespace {

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    char name[] = "/tmp/cairn_daemon_XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~DaemonTest() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  static std::string read(const std::string& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // Waits for a line that another process writes.
  static bool appears(const std::string& file, const std::string& text) {
    for (int i = 0; i < 500; ++i) {
      if (read(file).find(text) != std::string::npos) return true;
      ::usleep(10'000);
    }
    return false;
  }
  std::string directory_;
};

struct Probe {
  Options options;
  std::string pid_file;
  enum class Way {
    kServe,
    kFailEarly,
    kFailWithCode,
    kFailRunning,
    kDie,
    kIgnoreStop
  } way = Way::kServe;
};

struct Serving {
  runtime::AsioRuntime* loop;
  Daemon* daemon;
  runtime::Completion<bool>* stop;
  Probe::Way way;
};
Task<Status> serve(Serving* serving) {
  co_await runtime::yield_turn(*serving->loop);
  if (serving->way == Probe::Way::kFailRunning) co_return fail(Code::kBusy, "port 2511 is in use");
  if (serving->way == Probe::Way::kDie) ::_exit(7);
  serving->daemon->log().info("serving");
  serving->daemon->ready();
  co_await serving->stop->wait();
  co_return Status{};
}

// A whole main(), in the process it is called in.
int probe_main(const Probe& probe) {
  Result<Daemon> daemon = Daemon::start(probe.options);
  if (!daemon.has_value()) {
    std::fprintf(stderr, "%s\n", daemon.error().message().c_str());
    std::fflush(stderr);  // launch() made it a buffered file
    return 1;
  }
  std::ofstream(probe.pid_file) << ::getpid() << std::endl;
  if (probe.way == Probe::Way::kFailEarly) {
    daemon->failed(Error(Code::kBusy, "the repository is in use"));
    return 1;
  }
  if (probe.way == Probe::Way::kFailWithCode) {
    daemon->failed(5, "no MDS answers\n");
    std::fflush(stderr);
    return 5;
  }
  runtime::AsioRuntime loop;
  runtime::Completion<bool> stop(loop);
  Serving serving{&loop, &*daemon, &stop, probe.way};
  const bool deaf = probe.way == Probe::Way::kIgnoreStop;
  return daemon->run(loop, serve(&serving), [&stop, deaf] {
    if (!deaf) stop.set(true);
  });
}

// Runs it in a child; answers the child's pid. Its stderr goes to `error_file`.
pid_t launch(const Probe& probe, const std::string& error_file) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  if (std::freopen(error_file.c_str(), "w", stderr) == nullptr) ::_exit(99);
  ::_exit(probe_main(probe));
}
int exit_code(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(DaemonTest, BackgroundParentLeavesWhenTheChildServes) {
  const Probe probe{{true, path("logs/log"), false, "probe"}, path("pid")};
  const pid_t child = launch(probe, path("stderr"));
  EXPECT_EQ(exit_code(child), 0);
  const pid_t daemon = static_cast<pid_t>(std::stol(read(path("pid"))));
  EXPECT_NE(daemon, child);
  EXPECT_EQ(::kill(daemon, 0), 0);
  EXPECT_NE(::getsid(daemon), ::getsid(0));
  EXPECT_NE(::getsid(daemon), daemon);
  EXPECT_TRUE(appears(path("logs/log"), "serving"));
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(daemon) + "/fd/0"),
            "/dev/null");
  ::kill(daemon, SIGTERM);
  EXPECT_TRUE(appears(path("logs/log"), "ended"));
}

TEST_F(DaemonTest, BackgroundFailureReachesTheTerminal) {
  const struct {
    Probe::Way way;
    const char* message;
  } rows[] = {{Probe::Way::kFailEarly, "probe: the repository is in use"},
              {Probe::Way::kFailRunning, "probe: port 2511 is in use"},
              {Probe::Way::kDie, "probe: ended before it was ready"}};
  for (const auto& row : rows) {
    const Probe probe{{true, path("log"), false, "probe"}, path("pid"), row.way};
    EXPECT_EQ(exit_code(launch(probe, path("stderr"))), 1);
    EXPECT_NE(read(path("stderr")).find(row.message), std::string::npos) << read(path("stderr"));
  }
  EXPECT_TRUE(appears(path("log"), "port 2511 is in use"));
}

TEST_F(DaemonTest, FailureWithACodeIsTheExitCodeInBothGrounds) {
  for (const bool background : {true, false}) {
    const Probe probe{
        {background, path("log"), false, "probe"}, path("pid"), Probe::Way::kFailWithCode};
    EXPECT_EQ(exit_code(launch(probe, path("stderr"))), 5);
    EXPECT_EQ(read(path("stderr")), "no MDS answers\n");
  }
}

TEST_F(DaemonTest, UnwritableLogIsToldBeforeAnythingElse) {
  const Probe probe{{true, path("file/log"), false, "probe"}, path("pid")};
  std::ofstream(path("file")) << "not a directory";
  EXPECT_EQ(exit_code(launch(probe, path("stderr"))), 1);
  EXPECT_NE(read(path("stderr")).find(path("file")), std::string::npos);
  const Probe silent{{true, "", false, "probe"}, path("pid")};
  EXPECT_EQ(exit_code(launch(silent, path("stderr"))), 1);
}

TEST_F(DaemonTest, SignalsStopAForegroundDaemonCleanly) {
  for (const int number : {SIGTERM, SIGINT}) {
    std::filesystem::remove(path("log"));
    const Probe probe{{false, path("log"), false, "probe"}, path("pid")};
    const pid_t child = launch(probe, path("stderr"));
    EXPECT_TRUE(appears(path("log"), "serving"));
    ::kill(child, number);
    EXPECT_EQ(exit_code(child), 0);
  }
}

TEST_F(DaemonTest, SecondSignalEndsAtOnce) {
  const Probe probe{{false, path("log"), false, "probe"}, path("pid"), Probe::Way::kIgnoreStop};
  const pid_t child = launch(probe, path("stderr"));
  EXPECT_TRUE(appears(path("log"), "serving"));
  ::kill(child, SIGTERM);
  EXPECT_TRUE(appears(path("log"), "SIGTERM: stopping"));
  ::kill(child, SIGTERM);
  EXPECT_EQ(exit_code(child), 1);
}

TEST_F(DaemonTest, StopThatTakesTooLongEndsWithOneAndALine) {
  const Probe probe{{false, path("log"), false, "probe"}, path("pid"), Probe::Way::kIgnoreStop};
  const pid_t child = launch(probe, path("stderr"));
  EXPECT_TRUE(appears(path("log"), "serving"));
  ::kill(child, SIGINT);
  EXPECT_EQ(exit_code(child), 1);
  EXPECT_NE(read(path("log")).find("not stopped 5 s after"), std::string::npos);
}

TEST_F(DaemonTest, RepositoryHasOneHolder) {
  EXPECT_TRUE(lock_repository(directory_).has_value());
  EXPECT_EQ(read(path("lock")), std::to_string(::getpid()) + "\n");
  const pid_t child = ::fork();
  if (child == 0) {
    const Status second = lock_repository(directory_);
    const bool named =
        !second.has_value() && second.error().code() == Code::kBusy &&
        second.error().message().find(std::to_string(::getppid())) != std::string::npos;
    ::_exit(named ? 0 : 1);
  }
  EXPECT_EQ(exit_code(child), 0);
  EXPECT_EQ(lock_repository(path("nothing")).error().code(), Code::kNotFound);
}

TEST_F(DaemonTest, LockEndsWithItsProcess) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(lock_repository(directory_).has_value() ? 0 : 1);
  EXPECT_EQ(exit_code(child), 0);
  EXPECT_TRUE(lock_repository(directory_).has_value());
}

}  // namespace
}  // namespace cairn::daemon
