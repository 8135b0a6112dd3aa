// Buffer: owned bytes, aligned to 4 KiB so that O_DIRECT and SIMD can use them in place.
//
// Owns:     `capacity` bytes, shared by reference count among its slices; copying a Buffer copies
//           no
//           bytes. The count is atomic: slices may be dropped on any thread.
// Promises: data() of a fresh buffer is 4 KiB-aligned; bytes are uninitialised unless zeroed.
// Requires: writers know that nobody else holds a slice they would disturb.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace cairn {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

class Buffer {
 public:
  Buffer() = default;
  static Buffer allocate(std::size_t size);
  static Buffer zeroed(std::size_t size);
  static Buffer copy_of(Bytes bytes);

  std::byte* data() { return begin_; }
  const std::byte* data() const { return begin_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  MutableBytes span() { return {begin_, size_}; }
  Bytes span() const { return {begin_, size_}; }
  // Shares the memory.
  Buffer slice(std::size_t offset, std::size_t length) const;

 private:
  std::shared_ptr<std::byte> owner_;
  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
};

inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Little-endian fields of on-disk and wire structures; `at` must have the bytes.
template <class T>
T load_le(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void store_le(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

}  // namespace cairn
