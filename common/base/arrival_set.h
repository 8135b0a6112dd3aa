// ArrivalSet: a set of pointers (plain or shared) in the order in which they came. std::set would
// order them by address, and two runs of one simulated seed would differ.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

namespace cairn {

template <class Pointer>
class ArrivalSet {
 public:
  void insert(Pointer item) {
    const auto [at, added] = order_.try_emplace(item, next_);
    if (added) items_.emplace(next_++, std::move(item));
  }
  void erase(const Pointer& item) {
    const auto at = order_.find(item);
    if (at == order_.end()) return;
    items_.erase(at->second);
    order_.erase(at);
  }
  std::size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }

  class Iterator {
   public:
    explicit Iterator(typename std::map<std::uint64_t, Pointer>::const_iterator at) : at_(at) {}
    const Pointer& operator*() const { return at_->second; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    typename std::map<std::uint64_t, Pointer>::const_iterator at_;
  };
  Iterator begin() const { return Iterator(items_.begin()); }
  Iterator end() const { return Iterator(items_.end()); }

 private:
  std::map<std::uint64_t, Pointer> items_;
  std::map<Pointer, std::uint64_t> order_;
  std::uint64_t next_ = 0;
};

}  // namespace cairn
