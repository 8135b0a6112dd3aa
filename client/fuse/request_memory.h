// The memory that requests of the kernel are read into. A write hands its memory on with the bytes
// in it, so that a large write is never copied between the kernel and the cache of client/core.
//
// Owns:     RequestMemoryPool: the memory nobody uses, up to kIdleMax pieces.
// Promises: the payload of a FUSE write read into at() is 4 KiB-aligned.
// Limits:   kLentMax pieces of memory handed on; take_current() copies instead when they are out.
// Thread rule: any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/units.h"

namespace cairn::client::fuse {

// What one read() of /dev/fuse may return: a header page and 1 MiB of data.
inline constexpr std::size_t kRequestBytesMax = 1_MiB + 4_KiB;

class RequestMemory {
 public:
  RequestMemory();
  std::byte* at();
  std::size_t size() const { return kRequestBytesMax; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> region_;
};

class RequestMemoryPool {
 public:
  std::unique_ptr<RequestMemory> take();
  void give_back(std::unique_ptr<RequestMemory> memory);

  // For memory that leaves the thread that read the request. False: copy instead.
  bool lend();
  void returned();

 private:
  static constexpr std::size_t kIdleMax = 32;
  static constexpr std::size_t kLentMax = 64;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RequestMemory>> idle_;
  std::atomic<std::size_t> lent_ = 0;
};

// The bytes of one write: in lent memory, or copied.
class WriteBytes {
 public:
  explicit WriteBytes(Buffer copy) : copy_(std::move(copy)), bytes_(std::as_const(copy_).span()) {}
  WriteBytes(RequestMemoryPool* pool, std::unique_ptr<RequestMemory> memory, Bytes bytes)
      : pool_(pool), memory_(std::move(memory)), bytes_(bytes) {}
  WriteBytes(WriteBytes&& other) noexcept = default;
  WriteBytes& operator=(WriteBytes&&) = delete;
  ~WriteBytes();

  Bytes bytes() const { return bytes_; }

 private:
  RequestMemoryPool* pool_ = nullptr;
  std::unique_ptr<RequestMemory> memory_;
  Buffer copy_;
  Bytes bytes_;
};

// The memory the calling FUSE thread has read its present request into.
class CurrentRequest {
 public:
  explicit CurrentRequest(RequestMemoryPool& pool) : pool_(pool) {}
  // Memory to read the next request into.
  RequestMemory& memory();
  // Hands `bytes` (a part of the present request) on. Small ones are copied.
  WriteBytes take(Bytes bytes);
  ~CurrentRequest();

 private:
  static constexpr std::size_t kCopyBelow = 64_KiB;
  RequestMemoryPool& pool_;
  std::unique_ptr<RequestMemory> memory_;
};

}  // namespace cairn::client::fuse
