#include "mds/replication/mem_log_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/runtime/completion.h"
#include "mds/replication/log_state.h"

namespace cairn::mds::replication {

namespace {
constexpr Duration kCachedByALiar = 500ms;
}

Task<Status> MemLogStore::append(std::vector<paxos::Record> batch) {
  CHECK(!batch.empty());
  CHECK(!appending_);
  appending_ = true;
  runtime::Completion<Status> done(*runtime_);
  runtime_->schedule(runtime_->now() + latency_,
                     [this, life = life_, done, records = std::move(batch)]() mutable {
                       if (life != life_) return;
                       appending_ = false;
                       if (failed_) {
                         done.set(fail(Code::kDiskFailed, "the log's disk failed"));
                         return;
                       }
                       ++flushes_;
                       if (lying_) keep_image();
                       for (const paxos::Record& record : records) apply(record);
                       done.set(Status());
                     });
  Status status = co_await done.wait();
  co_return status;
}

void MemLogStore::apply(const paxos::Record& record) {
  advance(&state_, record);
  if (const auto* accept = std::get_if<paxos::AcceptRecord>(&record)) {
    if (accept->slot < floor_) return;
    last_slot_ = std::max(last_slot_, accept->slot);
    paxos::Accepted& kept = slots_[accept->slot];
    // A learned value stays.
    if (kept.slot != Slot() && !kept.ballot.valid()) return;
    kept = {.slot = accept->slot, .ballot = accept->ballot, .value = accept->value};
  } else if (const auto* learn = std::get_if<paxos::LearnRecord>(&record)) {
    last_slot_ = std::max(last_slot_, learn->slot);
    slots_[learn->slot] = {.slot = learn->slot, .ballot = {}, .value = learn->value};
  }
}

Result<std::vector<paxos::Accepted>> MemLogStore::accepted_after(Slot after) const {
  std::vector<paxos::Accepted> found;
  for (auto at = slots_.upper_bound(after); at != slots_.end(); ++at) found.push_back(at->second);
  return found;
}

Result<std::vector<Entry>> MemLogStore::run_from(Slot from, std::size_t slots_max,
                                                 ByteCount bytes_max) const {
  std::vector<Entry> entries;
  ByteCount bytes = 0;
  Slot expected = from;
  for (auto at = slots_.find(from); at != slots_.end() && at->first == expected; ++at) {
    bytes += kRecordHeaderBytes + at->second.value.bytes->size();
    if (!entries.empty() && (entries.size() >= slots_max || bytes > bytes_max)) break;
    entries.push_back(Entry{.slot = at->first, .value = at->second.value});
    expected = expected.next();
  }
  if (entries.empty()) {
    return fail(Code::kNotFound, fmt::format("the log does not have slot {}", from.raw()));
  }
  return entries;
}

Task<Result<std::vector<Entry>>> MemLogStore::read(Slot from, std::size_t slots_max,
                                                   ByteCount bytes_max) {
  runtime::Completion<Result<std::vector<Entry>>> done(*runtime_);
  runtime_->schedule(runtime_->now() + latency_,
                     [this, life = life_, done, from, slots_max, bytes_max]() mutable {
                       if (life == life_) done.set(run_from(from, slots_max, bytes_max));
                     });
  Result<std::vector<Entry>> entries = co_await done.wait();
  co_return entries;
}

Task<Status> MemLogStore::truncate_before(Slot slot) {
  floor_ = std::max(floor_, slot);
  slots_.erase(slots_.begin(), slots_.lower_bound(slot));
  co_return Status();
}

Slot MemLogStore::first_slot() const { return slots_.empty() ? Slot() : slots_.begin()->first; }

ByteCount MemLogStore::size_bytes() const {
  ByteCount bytes = 0;
  for (const auto& [slot, accepted] : slots_) {
    bytes += kRecordHeaderBytes + accepted.value.bytes->size();
  }
  return bytes;
}

void MemLogStore::keep_image() {
  images_.push_back({.at = runtime_->now(), .slots = slots_, .state = state_});
  while (images_.size() > 1 && runtime_->now() - images_[1].at > kCachedByALiar) {
    images_.pop_front();
  }
}

void MemLogStore::crash() {
  ++life_;
  appending_ = false;
  if (images_.empty()) return;
  slots_ = std::move(images_.front().slots);
  state_ = images_.front().state;
  images_.clear();
}

void MemLogStore::wipe() {
  crash();
  slots_.clear();
  state_ = LogState();
  last_slot_ = Slot();
  floor_ = Slot();
  failed_ = false;
}

}  // namespace cairn::mds::replication
