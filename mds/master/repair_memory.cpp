#include "mds/master/repair_memory.h"

#include <algorithm>

namespace cairn::mds::master {

RepairMemory::Entry& RepairMemory::entry(ChunkId chunk, std::uint32_t cs) {
  if (!chunks_.contains(chunk) && chunks_.size() >= kChunksMax) {
    chunks_.erase(
        std::ranges::min_element(chunks_, {}, [](const auto& at) { return at.second.end; }));
  }
  Entry& entry = chunks_[chunk];
  if (cs != 0 && entry.cs != cs) {
    entry.cs = cs;
    entry.delay = kFirst;
    entry.failures = 0;
    entry.strikes = 0;
  }
  return entry;
}

void RepairMemory::wait(Entry& entry, Instant now) {
  entry.not_before = now + entry.delay;
  entry.not_before_pending = now + kFirst;
  entry.delay = std::min(entry.delay * 2, kMost);
}

void RepairMemory::failed(ChunkId chunk, std::uint32_t cs, Instant now) {
  Entry& at = entry(chunk, cs);
  if (cs != 0) {
    ++at.failures;
    ++at.strikes;
  }
  wait(at, now);
  at.end = at.not_before + kRemembered;
}

// If it lasts, the entry is forgotten before it matters.
void RepairMemory::repaired(ChunkId chunk, std::uint32_t cs, Instant now) {
  Entry& at = entry(chunk, cs);
  at.failures = 0;
  if (++at.strikes > 1) {
    wait(at, now);
  } else {
    at.not_before = now;
    at.not_before_pending = now;
  }
  at.end = now + kRemembered;
}

bool RepairMemory::ready(ChunkId chunk, bool pending, Instant now) const {
  const auto at = chunks_.find(chunk);
  if (at == chunks_.end()) return true;
  return (pending ? at->second.not_before_pending : at->second.not_before) <= now;
}

std::uint32_t RepairMemory::unfit(ChunkId chunk, bool pending) const {
  const auto at = chunks_.find(chunk);
  if (at == chunks_.end()) return 0;
  const bool failed_it = pending && at->second.failures != 0;
  return failed_it || at->second.strikes >= kStrikes ? at->second.cs : 0;
}

bool RepairMemory::suspected(std::uint32_t cs, Instant now) const {
  const auto at = suspects_.find(cs);
  return at != suspects_.end() && now < at->second;
}

void RepairMemory::forgive(std::uint32_t cs) {
  suspects_.erase(cs);
  std::erase_if(chunks_, [&](const auto& at) { return at.second.cs == cs; });
}

bool RepairMemory::is_silent(SessionId holder, Instant now) const {
  const auto at = silent_.find(holder);
  return at != silent_.end() && now < at->second;
}

void RepairMemory::expire(Instant now) {
  std::erase_if(chunks_, [&](const auto& at) { return at.second.end <= now; });
  std::erase_if(suspects_, [&](const auto& at) { return at.second <= now; });
  std::erase_if(silent_, [&](const auto& at) { return at.second <= now; });
}

}  // namespace cairn::mds::master
