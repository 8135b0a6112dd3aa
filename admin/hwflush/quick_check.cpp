#include "admin/hwflush/quick_check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "admin/drive/file_descriptor.h"
#include "admin/hwflush/medium.h"
#include "admin/hwflush/quick_verdict.h"
#include "common/base/buffer.h"
#include "common/base/units.h"
#include "common/cluster/durable_file.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::admin {
namespace {

constexpr ByteCount kFileBytes = 1_MiB;
constexpr std::size_t kSamplesMax = 4'000'000;

// A file without a name, written whole: what follows changes no metadata.
Result<FileDescriptor> open_test_file(const std::string& directory) {
  std::string path = directory + "/.cairn-flush-check.XXXXXX";
  FileDescriptor file(::mkostemp(path.data(), O_CLOEXEC));
  if (file.get() < 0) return fail(cluster::system_error(errno, "create", path));
  ::unlink(path.c_str());
  const Buffer zeros = Buffer::zeroed(kFileBytes);
  TRY_VOID(write_all_at(file.get(), zeros.span(), 0, path));
  if (::fsync(file.get()) != 0) return fail(cluster::system_error(errno, "fsync", path));
  // Where O_DIRECT is not possible, fdatasync alone carries the data: slower, no less true.
  static_cast<void>(::fcntl(file.get(), F_SETFL, O_DIRECT));
  return file;
}

}  // namespace

Result<FlushVerdict> quick_flush_check(const std::string& directory,
                                       std::chrono::seconds duration) {
  TRY(const FileDescriptor file, open_test_file(directory));
  const runtime::AsioRuntime clock;
  Buffer block = Buffer::zeroed(kBlockBytes);
  FlushSamples samples;
  const Instant began = clock.now();
  Instant last = began;
  do {
    const std::uint64_t number = samples.latencies.size();
    store_le<std::uint64_t>(block.data(), number);
    TRY_VOID(write_all_at(file.get(), block.span(), number * kBlockBytes % kFileBytes, directory));
    if (::fdatasync(file.get()) != 0) {
      return fail(cluster::system_error(errno, "flush a file in", directory));
    }
    const Instant now = clock.now();
    samples.latencies.push_back(now - last);
    last = now;
  } while (last - began < duration && samples.latencies.size() < kSamplesMax);
  samples.elapsed = last - began;
  return judge_flushes(medium_below(directory), std::move(samples));
}

}  // namespace cairn::admin
