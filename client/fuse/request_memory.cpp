#include "client/fuse/request_memory.h"

#include <cstdlib>

#include "common/base/check.h"

namespace cairn::client::fuse {

namespace {

// struct fuse_in_header and struct fuse_write_in of linux/fuse.h stand before the bytes of a write.
constexpr std::size_t kWriteHeaderBytes = 80;

}  // namespace

RequestMemory::RequestMemory()
    : region_(static_cast<std::byte*>(
          std::aligned_alloc(kBlockBytes, align_up(kRequestBytesMax, kBlockBytes) + kBlockBytes))) {
  CHECK(region_ != nullptr);
}

std::byte* RequestMemory::at() { return region_.get() + (kBlockBytes - kWriteHeaderBytes); }

std::unique_ptr<RequestMemory> RequestMemoryPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<RequestMemory> memory = std::move(idle_.back());
      idle_.pop_back();
      return memory;
    }
  }
  return std::make_unique<RequestMemory>();
}

void RequestMemoryPool::give_back(std::unique_ptr<RequestMemory> memory) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(memory));
}

bool RequestMemoryPool::lend() {
  if (lent_.fetch_add(1) < kLentMax) return true;
  lent_.fetch_sub(1);
  return false;
}

void RequestMemoryPool::returned() { CHECK_GT(lent_.fetch_sub(1), std::size_t{0}); }

WriteBytes::~WriteBytes() {
  if (memory_ == nullptr) return;
  pool_->give_back(std::move(memory_));
  pool_->returned();
}

RequestMemory& CurrentRequest::memory() {
  if (memory_ == nullptr) memory_ = pool_.take();
  return *memory_;
}

WriteBytes CurrentRequest::take(Bytes bytes) {
  if (bytes.size() < kCopyBelow || memory_ == nullptr || !pool_.lend()) {
    return WriteBytes(Buffer::copy_of(bytes));
  }
  return WriteBytes(&pool_, std::move(memory_), bytes);
}

CurrentRequest::~CurrentRequest() {
  if (memory_ != nullptr) pool_.give_back(std::move(memory_));
}

}  // namespace cairn::client::fuse
