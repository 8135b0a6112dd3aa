// cairn-memory-mount DIR [DIR2]: one or two mounts of a cluster that lives in this process's
// memory, for the tests of client/fuse. SIGUSR1 freezes and thaws all data. SIGTERM or unmounting
// ends it.
//
// Errors: exit code 1 with a sentence.
#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>

#include "client/fuse/fuse_session.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"
#include "tests/mount/memory_file_system.h"

namespace cairn::tests {
namespace {

using client::fuse::FuseSession;

struct Mount {
  std::unique_ptr<MemoryFileSystem> fs;
  std::unique_ptr<FuseSession> session;
};

Task<void> serve(runtime::AsioRuntime* runtime, Mount* mount, int* exit_code) {
  const Status serving = co_await mount->session->serving();
  if (serving.has_value()) {
    fmt::print("serving\n");
    std::fflush(stdout);
    co_await mount->session->ended();
  } else {
    fmt::print(stderr, "{}\n", serving.error().message());
    *exit_code = 1;
  }
  const Deadline deadline = runtime->after(3s);
  co_await mount->session->unmount(deadline);
  const Status stopped = co_await mount->fs->stop(deadline);
  CHECK(stopped.has_value());
  co_await mount->session->close();
}

Task<void> serve_all(runtime::AsioRuntime* runtime, std::vector<Mount>* mounts, int* exit_code) {
  runtime::TaskGroup group(*runtime);
  for (Mount& mount : *mounts) group.spawn(serve(runtime, &mount, exit_code));
  co_await group.join();
  runtime->stop();
}

void wait_for_freeze(boost::asio::signal_set* signals, std::vector<Mount>* mounts, bool frozen) {
  signals->async_wait([signals, mounts, frozen](const boost::system::error_code& error, int) {
    if (error) return;
    for (Mount& mount : *mounts) mount.fs->freeze(!frozen);
    wait_for_freeze(signals, mounts, !frozen);
  });
}

int run(const std::vector<std::string>& directories) {
  runtime::AsioRuntime runtime;
  const std::unique_ptr<observe::Log> log =
      observe::make_log({.target = observe::LogTarget::kStderr, .file = "", .name = "memory"});
  MemoryCluster cluster(runtime);
  std::vector<Mount> mounts;
  for (const std::string& directory : directories) {
    Mount mount{.fs = std::make_unique<MemoryFileSystem>(cluster), .session = nullptr};
    Result<std::unique_ptr<FuseSession>> session = FuseSession::mount(
        runtime, *mount.fs, *log,
        {.mount_point = directory, .source = "cairn://memory", .kernel_options = {"allow_other"}});
    if (!session.has_value()) {
      fmt::print(stderr, "{}\n", session.error().message());
      return 1;
    }
    mount.session = std::move(*session);
    mounts.push_back(std::move(mount));
  }
  int exit_code = 0;
  boost::asio::signal_set stop(runtime.context(), SIGTERM, SIGINT);
  stop.async_wait([&mounts](const boost::system::error_code& error, int) {
    if (error) return;
    for (Mount& mount : mounts) mount.session->request_end();
  });
  boost::asio::signal_set freeze(runtime.context(), SIGUSR1);
  wait_for_freeze(&freeze, &mounts, false);
  runtime::TaskGroup group(runtime);
  group.spawn(serve_all(&runtime, &mounts, &exit_code));
  runtime.run();
  return exit_code;
}

}  // namespace
}  // namespace cairn::tests

int main(int argc, char** argv) {
  const std::vector<std::string> directories(argv + 1, argv + argc);
  if (directories.empty()) {
    fmt::print(stderr, "usage: cairn-memory-mount DIR [DIR2]\n");
    return 2;
  }
  return cairn::tests::run(directories);
}
