#include "admin/hwflush/client.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <system_error>
#include <utility>

#include "admin/hwflush/reporter.h"
#include "admin/hwflush/resolve.h"
#include "admin/hwflush/stop_signals.h"
#include "admin/hwflush/test_directory.h"
#include "admin/hwflush/writers.h"
#include "common/base/units.h"
#include "common/cluster/durable_file.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::admin::hwflush {
namespace {

constexpr Duration kProgressTime = 10s;
constexpr std::size_t kMachineIdShown = 8;

// Tells hosts apart, also those with one name.
std::string host_name() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0) name[0] = '\0';
  const std::string machine = cluster::read_small_file("/etc/machine-id").value_or("");
  std::string host = std::string(name.data()) + "-" + machine.substr(0, kMachineIdShown);
  return host.substr(0, kHostBytesMax);
}

Result<std::string> absolute_path(const std::string& directory) {
  std::error_code error;
  const std::string path = std::filesystem::weakly_canonical(directory, error).string();
  if (error) return fail(cluster::system_error(error.value(), "look at", directory));
  if (path.size() > kPathBytesMax) return fail(Code::kNameTooLong, directory + " is too long");
  return path;
}

DirectoryId random_directory_id() {
  runtime::AsioRuntime source;
  return {source.random() | 1, source.random()};
}

struct Running {
  const ClientOptions& options;
  const Say& say;
  StopSignals& signals;
  Reporter& reporter;
  const runtime::AsioRuntime& clock;
};

// Until stopped, failed or the time is over.
Result<ClientEnd> write_and_tell(const Running& run, const TestDirectory& directory) {
  ClientEnd end;
  const Instant began = run.clock.now();
  Writers writers(&directory, &run.reporter,
                  {.threads = run.options.threads,
                   .file_bytes = ByteCount{run.options.file_mb} * 1_MiB,
                   .mode = run.options.mode},
                  [&run] { run.signals.wake(); });
  Wakened wakened = Wakened::kTimeout;
  std::uint64_t shown = 0;
  while (wakened == Wakened::kTimeout) {
    Duration wait = kProgressTime;
    if (run.options.seconds.has_value()) {
      const Duration left = began + Duration(*run.options.seconds) - run.clock.now();
      if (left <= Duration::zero()) break;
      wait = std::min(wait, left);
    }
    const Instant before = run.clock.now();
    wakened = run.signals.wait(wait);
    const double passed = static_cast<double>((run.clock.now() - before).count()) / 1e9;
    if (wakened != Wakened::kTimeout || wait < kProgressTime) continue;
    const std::uint64_t told = writers.told();
    run.say(fmt::format("{} flushes told, {:.0f} a second\n", told,
                        static_cast<double>(told - std::exchange(shown, told)) / passed));
  }
  writers.stop();
  TRY_VOID(writers.failure());
  end.flushes = writers.told();
  end.seconds = static_cast<double>((run.clock.now() - began).count()) / 1e9;
  return end;
}

}  // namespace

Result<ClientEnd> run_client(const ClientOptions& options, const Say& say) {
  TRY(const net::Address named, split_server(options.server, kPort));
  TRY(const std::vector<net::Address> servers, resolve(named));
  TRY(const std::string path, absolute_path(options.directory));
  TRY(StopSignals signals, StopSignals::make());
  TRY(TestDirectory directory, TestDirectory::look(path));
  const bool has_id = !options.fresh && !directory.id().empty();
  const DirectoryId id = has_id ? directory.id() : random_directory_id();
  const Counters on_disk = options.fresh ? Counters() : directory.on_disk();
  Reporter reporter([&signals] { signals.wake(); });
  TRY(const Known known, reporter.greet(servers, {.directory = id,
                                                  .fresh = options.fresh,
                                                  .host = host_name(),
                                                  .path = path,
                                                  .on_disk = on_disk}));

  ClientEnd end;
  end.by = known.by;
  end.comparison = compare_counters(on_disk, known.on_server);
  say(end.comparison.lines);
  if (!end.comparison.good()) return end;
  if (end.by != KnownBy::kNothing || end.comparison.threads != 0) {
    say(verdict(end.comparison, end.by) + "\n");
  }
  if (options.fresh) {
    TRY_VOID(directory.clear());
  }
  TRY_VOID(directory.begin(id));
  say(fmt::format("{} threads write and flush in {} and tell {}\n", options.threads, path,
                  options.server));
  const runtime::AsioRuntime clock;
  TRY(const ClientEnd ran, write_and_tell({options, say, signals, reporter, clock}, directory));
  end.flushes = ran.flushes;
  end.seconds = ran.seconds;
  return end;
}

}  // namespace cairn::admin::hwflush
