// StrongId and StrongNum: numbers with a meaning. Explicit in, explicit out, so that a chunk id can
// never be passed where an inode id belongs. StrongId has no arithmetic and 0 means "none";
// StrongNum counts or orders, and can be stepped and subtracted from its own kind.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <type_traits>

namespace cairn {

template <class Tag, class Rep = std::uint64_t>
class StrongId {
 public:
  using rep = Rep;
  constexpr StrongId() = default;
  static constexpr StrongId from_raw(Rep raw) { return StrongId(raw); }
  constexpr Rep raw() const { return raw_; }
  constexpr bool valid() const { return raw_ != 0; }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;
  friend std::ostream& operator<<(std::ostream& out, StrongId id) { return out << id.raw_; }

 private:
  explicit constexpr StrongId(Rep raw) : raw_(raw) {}
  Rep raw_ = 0;
};

template <class Tag, class Rep = std::uint64_t>
class StrongNum {
 public:
  using rep = Rep;
  constexpr StrongNum() = default;
  explicit constexpr StrongNum(Rep raw) : raw_(raw) {}
  static constexpr StrongNum from_raw(Rep raw) { return StrongNum(raw); }
  constexpr Rep raw() const { return raw_; }
  constexpr StrongNum next() const { return StrongNum(static_cast<Rep>(raw_ + 1)); }
  constexpr StrongNum prev() const { return StrongNum(static_cast<Rep>(raw_ - 1)); }
  friend constexpr auto operator<=>(StrongNum, StrongNum) = default;
  friend constexpr Rep operator-(StrongNum a, StrongNum b) {
    return static_cast<Rep>(a.raw_ - b.raw_);
  }
  friend std::ostream& operator<<(std::ostream& out, StrongNum n) { return out << n.raw_; }

 private:
  Rep raw_ = 0;
};

// For in-memory hash tables only; nothing stored may depend on it.
struct StrongHash {
  template <class T>
  std::size_t operator()(const T& value) const {
    return std::hash<typename T::rep>{}(value.raw());
  }
};

}  // namespace cairn
