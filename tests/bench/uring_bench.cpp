// cairn-uring-bench: what the device layer of the chunk server gets out of one file: requests of
// one size and kind at one queue depth for some seconds, and what they cost in CPU. Beside fio on
// the same file it tells what our layer costs. It overwrites the file.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "chunkserver/io/open_device.h"
#include "common/base/prng.h"
#include "common/runtime/task_group.h"

namespace cairn {
namespace {

using chunkserver::io::BlockDevice;
using chunkserver::io::DeviceWrite;

struct Options {
  std::string file;
  std::string kind = "read";
  std::string engine = "io_uring";
  ByteCount block = 4096;
  ByteCount size = 1_GiB;
  std::uint64_t depth = 1;
  double seconds = 4;
  bool sequential = false;
  bool prepare = false;
};

struct Run {
  const Options* options = nullptr;
  runtime::AsioRuntime* loop = nullptr;
  BlockDevice* device = nullptr;
  Instant end;
  std::uint64_t next = 0;  // of a sequential run, in blocks
  std::vector<std::int64_t> latencies;
  Status failure;
};

Buffer random_bytes(ByteCount size) {
  Buffer buffer = Buffer::allocate(size);
  Prng prng(1);
  for (std::size_t at = 0; at < size; at += 8) store_le(buffer.data() + at, prng.next());
  return buffer;
}

Task<Status> request(const Options* options, BlockDevice* device, DiskOffset at, Buffer buffer) {
  if (options->kind == "read") co_return co_await device->read(at, buffer.span());
  std::vector<Bytes> parts{std::as_const(buffer).span()};
  if (options->kind == "write") co_return co_await device->write(at, std::move(parts));
  if (options->kind == "write+flush") {
    CO_TRY_VOID(co_await device->write(at, std::move(parts)));
    co_return co_await device->flush();
  }
  std::vector<DeviceWrite> writes;
  writes.push_back({at, std::move(parts)});
  co_return co_await device->write_durably(std::move(writes));
}

Task<void> work(Run* run, std::uint64_t seed) {
  Prng prng(seed);
  const Buffer buffer = random_bytes(run->options->block);
  const std::uint64_t blocks = run->options->size / run->options->block;
  while (run->failure.has_value() && run->loop->now() < run->end) {
    const std::uint64_t block =
        run->options->sequential ? run->next++ % blocks : prng.below(blocks);
    const Instant begun = run->loop->now();
    Status status = co_await request(run->options, run->device,
                                     DiskOffset(block * run->options->block), buffer);
    run->latencies.push_back((run->loop->now() - begun).count());
    if (!status.has_value()) run->failure = std::move(status);
  }
}

Task<void> fill(Run* run) {
  run->failure = co_await run->device->grow(run->options->size);
  const Buffer buffer = random_bytes(1_MiB);
  for (ByteCount at = 0; at < run->options->size && run->failure.has_value(); at += buffer.size()) {
    std::vector<Bytes> parts{buffer.span()};
    run->failure = co_await run->device->write(DiskOffset(at), std::move(parts));
  }
  if (run->failure.has_value()) run->failure = co_await run->device->flush();
}

Task<void> work_all(Run* run) {
  if (run->options->prepare) co_await fill(run);
  runtime::TaskGroup group(*run->loop);
  run->end =
      run->loop->after(Duration(static_cast<std::int64_t>(run->options->seconds * 1'000'000'000)));
  for (std::uint64_t i = 0; i < run->options->depth; ++i) group.spawn(work(run, i + 1));
  co_await group.join();
  run->loop->stop();
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

double percentile_us(std::vector<std::int64_t>* sorted, double share) {
  const auto at = static_cast<std::size_t>(share * static_cast<double>(sorted->size() - 1));
  return static_cast<double>((*sorted)[at]) / 1000;
}

Result<std::unique_ptr<BlockDevice>> open(runtime::AsioRuntime& loop, const Options& options) {
  return chunkserver::io::open_device(
      loop, options.file, {.create = options.prepare, .allow_uring = options.engine == "io_uring"});
}

int bench(const Options& options) {
  runtime::AsioRuntime loop;
  Result<std::unique_ptr<BlockDevice>> device = open(loop, options);
  if (!device.has_value()) {
    fmt::print(stderr, "{}\n", device.error().to_string());
    return 1;
  }
  Run run;
  run.options = &options;
  run.loop = &loop;
  run.device = device->get();
  run.latencies.reserve(std::size_t{1} << 22);
  runtime::TaskGroup group(loop);
  group.spawn(work_all(&run));
  const double cpu = cpu_seconds();
  loop.run();
  const double used = cpu_seconds() - cpu;
  if (!run.failure.has_value()) {
    fmt::print(stderr, "{}\n", run.failure.error().to_string());
    return 1;
  }
  const auto count = static_cast<double>(run.latencies.size());
  std::ranges::sort(run.latencies);
  fmt::print(
      "{} {} {} B depth {}: {:.0f} ops/s, {:.1f} MiB/s, {:.2f} us CPU/op, p50 {:.0f} us, "
      "p99 {:.0f} us\n",
      (*device)->engine(), options.kind, options.block, options.depth, count / options.seconds,
      count / options.seconds * static_cast<double>(options.block) / 1048576.0, used / count * 1e6,
      percentile_us(&run.latencies, 0.5), percentile_us(&run.latencies, 0.99));
  return 0;
}

}  // namespace
}  // namespace cairn

int main(int argc, char** argv) {
  cairn::Options options;
  CLI::App app("device layer of the chunk server on one file");
  app.add_option("file", options.file, "the file or block device; overwritten")->required();
  app.add_option("-o,--operation", options.kind, "read, write, write+flush or write_durably")
      ->check(CLI::IsMember({"read", "write", "write+flush", "write_durably"}));
  app.add_option("-b,--block", options.block, "bytes of a request");
  app.add_option("-s,--size", options.size, "bytes of the file to use");
  app.add_option("-d,--depth", options.depth, "requests at a time");
  app.add_option("-t,--seconds", options.seconds, "how long");
  app.add_option("-e,--engine", options.engine, "io_uring or threads")
      ->check(CLI::IsMember({"io_uring", "threads"}));
  app.add_flag("--sequential", options.sequential, "one block after the other, else random ones");
  app.add_flag("--prepare", options.prepare, "make the file and write all of it first");
  CLI11_PARSE(app, argc, argv);
  return cairn::bench(options);
}
