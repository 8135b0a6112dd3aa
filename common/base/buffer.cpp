#include "common/base/buffer.h"

#include <bit>
#include <cstdlib>
#include <new>

#include "common/base/check.h"
#include "common/base/units.h"

namespace cairn {

static_assert(std::endian::native == std::endian::little, "load_le and store_le copy bytes");

Buffer Buffer::allocate(std::size_t size) {
  Buffer buffer;
  if (size == 0) return buffer;
  void* memory = std::aligned_alloc(kBlockBytes, align_up(size, kBlockBytes));
  if (memory == nullptr) throw std::bad_alloc();
  buffer.owner_ = std::shared_ptr<std::byte>(static_cast<std::byte*>(memory), std::free);
  buffer.begin_ = buffer.owner_.get();
  buffer.size_ = size;
  return buffer;
}

Buffer Buffer::zeroed(std::size_t size) {
  Buffer buffer = allocate(size);
  if (size != 0) std::memset(buffer.begin_, 0, size);
  return buffer;
}

Buffer Buffer::copy_of(Bytes bytes) {
  Buffer buffer = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.begin_, bytes.data(), bytes.size());
  return buffer;
}

Buffer Buffer::slice(std::size_t offset, std::size_t length) const {
  CHECK_LE(offset, size_);
  CHECK_LE(length, size_ - offset);
  Buffer part = *this;
  part.begin_ = begin_ + offset;
  part.size_ = length;
  return part;
}

}  // namespace cairn
