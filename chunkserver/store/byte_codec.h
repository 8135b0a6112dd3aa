// ByteWriter, ByteReader: little-endian fields in a byte string, for the store's own formats.
//
// Errors: a reader that ran past its end turns bad and yields zeros; ask ok() at the end. Pure.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "common/base/buffer.h"

namespace cairn::chunkserver::store {

class ByteWriter {
 public:
  template <class T>
  void put(T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof value);
    bytes_.append(bytes, sizeof bytes);
  }
  // Over what is there already.
  template <class T>
  void put_at(std::size_t at, T value) {
    std::memcpy(&bytes_[at], &value, sizeof value);
  }
  void append(std::string_view bytes) { bytes_.append(bytes); }
  void skip(std::size_t count) { bytes_.append(count, '\0'); }
  void reserve(std::size_t bytes) { bytes_.reserve(bytes); }
  std::string take() { return std::move(bytes_); }
  std::size_t size() const { return bytes_.size(); }

 private:
  std::string bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  T get() {
    if (bytes_.size() < sizeof(T)) {
      ok_ = false;
      bytes_ = {};
      return T{};
    }
    T value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view get_bytes(std::size_t count) {
    if (bytes_.size() < count) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view part = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return part;
  }
  // A count of items of at least `item_bytes` each that must still be there: refuses before anyone
  // allocates.
  std::uint32_t get_count(std::size_t item_bytes) {
    const auto count = get<std::uint32_t>();
    if (count > bytes_.size() / item_bytes) {
      ok_ = false;
      return 0;
    }
    return count;
  }
  void fail() { ok_ = false; }
  bool ok() const { return ok_; }
  std::size_t left() const { return bytes_.size(); }
  bool finished() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace cairn::chunkserver::store
