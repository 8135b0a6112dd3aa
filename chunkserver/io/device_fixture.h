// What the tests of the devices share: a loop for one task, a file of their own, blocks with
// contents that tell their seed.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "chunkserver/io/block_device.h"
#include "common/base/prng.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::io {

inline Task<void> stop_after(Task<void> body, runtime::AsioRuntime* loop) {
  co_await body;
  loop->stop();
}
inline void run_on(runtime::AsioRuntime& loop, Task<void> body) {
  runtime::TaskGroup group(loop);
  group.spawn(stop_after(std::move(body), &loop));
  loop.run();
}

class TemporaryFile {
 public:
  TemporaryFile() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-device-XXXXXX").string();
    const char* made = ::mkdtemp(name.data());
    CHECK(made != nullptr);
    directory_ = made;
  }
  ~TemporaryFile() { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/data"; }

 private:
  std::string directory_;
};

inline Buffer pattern(std::size_t blocks, std::uint64_t seed) {
  Prng prng(seed);
  Buffer buffer = Buffer::allocate(blocks * kBlockBytes);
  for (std::size_t at = 0; at < buffer.size(); at += 8) store_le(buffer.data() + at, prng.next());
  return buffer;
}
inline bool same(const Buffer& a, const Buffer& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

inline Task<void> write_blocks(BlockDevice* device, std::uint64_t block, std::uint64_t seed,
                               std::size_t blocks) {
  const Buffer bytes = pattern(blocks, seed);
  std::vector<Bytes> parts{bytes.span()};
  const Status status = co_await device->write(DiskOffset(block * kBlockBytes), std::move(parts));
  EXPECT_TRUE(status.has_value());
}
inline Task<bool> holds(BlockDevice* device, std::uint64_t block, Buffer expected) {
  Buffer bytes = Buffer::allocate(expected.size());
  const Status status = co_await device->read(DiskOffset(block * kBlockBytes), bytes.span());
  EXPECT_TRUE(status.has_value());
  co_return same(bytes, expected);
}

}  // namespace cairn::chunkserver::io
