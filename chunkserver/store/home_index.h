// HomeIndex: block of the data file -> a number of the caller. An open-addressing hash in 64 parts
// that grow one by one, so that no single insert moves more than a 64th of it. Pure.
//
// Requires: homes are not 0 (the superblock's block); numbers are below kNone.
// Limits:   16 bytes for a place, at most 5/8 of the places are in use. It does not shrink.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/base/check.h"

namespace cairn::chunkserver::store {

class HomeIndex {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  std::size_t size() const { return size_; }

  std::uint32_t find(std::uint64_t home) const {
    const std::uint64_t hash = hash_of(home);
    const Part& part = parts_[part_of(hash)];
    if (part.slots.empty()) return kNone;
    const std::size_t mask = part.slots.size() - 1;
    for (std::size_t i = slot_of(hash, mask);; i = (i + 1) & mask) {
      const Slot& slot = part.slots[i];
      if (slot.home == home) return slot.number;
      if (slot.home == 0) return kNone;
    }
  }

  // Requires: `home` is not in it.
  void insert(std::uint64_t home, std::uint32_t number) {
    DCHECK(home != 0);
    DCHECK(number != kNone);
    const std::uint64_t hash = hash_of(home);
    Part& part = parts_[part_of(hash)];
    if ((part.used + 1) * 8 > part.slots.size() * 5) grow(part);
    put(part, {home, number});
    ++part.used;
    ++size_;
  }

  // Nothing to do when it is not there.
  void erase(std::uint64_t home) {
    const std::uint64_t hash = hash_of(home);
    Part& part = parts_[part_of(hash)];
    if (part.slots.empty()) return;
    const std::size_t mask = part.slots.size() - 1;
    std::size_t hole = slot_of(hash, mask);
    while (part.slots[hole].home != home) {
      if (part.slots[hole].home == 0) return;
      hole = (hole + 1) & mask;
    }
    // Those behind the hole that would not be found past it move into it.
    for (std::size_t i = (hole + 1) & mask; part.slots[i].home != 0; i = (i + 1) & mask) {
      const std::size_t wanted = slot_of(hash_of(part.slots[i].home), mask);
      if (((i - wanted) & mask) < ((i - hole) & mask)) continue;
      part.slots[hole] = part.slots[i];
      hole = i;
    }
    part.slots[hole] = Slot();
    --part.used;
    --size_;
  }

 private:
  static constexpr std::size_t kParts = 64;
  struct Slot {
    std::uint64_t home = 0;  // 0: nothing here
    std::uint32_t number = kNone;
  };
  struct Part {
    std::vector<Slot> slots;  // a power of two of them
    std::size_t used = 0;
  };

  // Eight neighbours of the disk are neighbours here: they come and go together.
  static constexpr std::uint64_t kTogether = 8;
  static std::uint64_t hash_of(std::uint64_t home) {
    const std::uint64_t mixed = home / kTogether * 0x9e37'79b9'7f4a'7c15ULL;
    return mixed / kTogether * kTogether + home % kTogether;  // the upper bits are the mixed ones
  }
  static std::size_t part_of(std::uint64_t hash) { return hash >> 58; }
  static std::size_t slot_of(std::uint64_t hash, std::size_t mask) {
    return ((hash >> 32) * kTogether + hash % kTogether) & mask;
  }
  static void put(Part& part, Slot slot) {
    const std::size_t mask = part.slots.size() - 1;
    std::size_t i = slot_of(hash_of(slot.home), mask);
    while (part.slots[i].home != 0) i = (i + 1) & mask;
    part.slots[i] = slot;
  }
  static void grow(Part& part) {
    std::vector<Slot> old(part.slots.empty() ? 16 : part.slots.size() * 2);
    old.swap(part.slots);
    for (const Slot& slot : old) {
      if (slot.home != 0) put(part, slot);
    }
  }

  std::array<Part, kParts> parts_;
  std::size_t size_ = 0;
};

}  // namespace cairn::chunkserver::store
