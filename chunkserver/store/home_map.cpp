#include "chunkserver/store/home_map.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace cairn::chunkserver::store {

std::uint32_t HomeMap::make_entry() {
  if (free_ == kNone) {
    const auto first = static_cast<std::uint32_t>(slabs_.size() * kSlabEntries);
    CHECK_LT(first, kNone - kSlabEntries);
    slabs_.push_back(std::make_unique<Entry[]>(kSlabEntries));
    for (std::uint32_t i = kSlabEntries; i-- > 0;) {
      entry(first + i).next = free_;
      free_ = first + i;
    }
  }
  const std::uint32_t number = free_;
  free_ = entry(number).next;
  return number;
}

void HomeMap::link(std::uint32_t number) {
  Entry& added = entry(number);
  added.previous = newest_;
  added.next = kNone;
  if (newest_ == kNone) {
    oldest_ = number;
  } else {
    entry(newest_).next = number;
  }
  newest_ = number;
}

void HomeMap::unlink(std::uint32_t number) {
  const Entry& gone = entry(number);
  if (gone.previous == kNone) {
    oldest_ = gone.next;
  } else {
    entry(gone.previous).next = gone.next;
  }
  if (gone.next == kNone) {
    newest_ = gone.previous;
  } else {
    entry(gone.next).previous = gone.previous;
  }
}

void HomeMap::begin_batch(std::uint64_t sequence) {
  CHECK(batches_.empty() || batches_.back().sequence < sequence);
  // A batch without blocks is nothing to remember.
  if (!batches_.empty() && batches_.back().live == 0) batches_.pop_back();
  pop_batches();
  batches_.push_back({sequence, 0, 0});
}

void HomeMap::add(std::uint64_t home, Place place) {
  CHECK(!batches_.empty());
  CHECK_NE(home, std::uint64_t{0});
  const std::uint32_t before = index_.find(home);
  if (before != kNone) kill(before);
  if (kept_bytes_ + place.bytes.size() > keep_bytes_) place.bytes = Buffer();
  kept_bytes_ += place.bytes.size();
  const std::uint32_t number = make_entry();
  Entry& added = entry(number);
  added.place = std::move(place);
  added.home = home;
  added.batch = first_batch_ + batches_.size() - 1;
  added.writing = false;
  link(number);
  index_.insert(home, number);
  ++batches_.back().live;
  ++batches_.back().homeless;
}

void HomeMap::drop(std::uint32_t number) {
  Entry& gone = entry(number);
  if (!gone.writing) unlink(number);
  index_.erase(gone.home);
  kept_bytes_ -= gone.place.bytes.size();
  gone.place.bytes = Buffer();
  Batch& owner = batch(gone.batch);
  CHECK_GT(owner.homeless, std::size_t{0});
  --owner.homeless;
  gone.next = free_;
  free_ = number;
}

void HomeMap::kill(std::uint32_t number) {
  const std::uint64_t owner = entry(number).batch;
  drop(number);
  --batch(owner).live;
}

void HomeMap::forget(Extent homes) {
  if (index_.size() == 0) return;
  for (std::uint64_t home = homes.first; home < homes.end(); ++home) {
    const std::uint32_t number = index_.find(home);
    if (number != kNone) kill(number);
  }
  pop_batches();
}

std::vector<HomeMap::Homeless> HomeMap::take(std::size_t blocks_max) {
  std::vector<Homeless> taken;
  taken.reserve(std::min(blocks_max, homeless()));
  while (oldest_ != kNone && taken.size() < blocks_max) {
    const std::uint32_t number = oldest_;
    Entry& next = entry(number);
    unlink(number);
    next.writing = true;
    taken.push_back({next.home, batch(next.batch).sequence, next.place});
  }
  std::sort(taken.begin(), taken.end(),
            [](const Homeless& a, const Homeless& b) { return a.home < b.home; });
  return taken;
}

bool HomeMap::is_current(const Homeless& block) const {
  const std::uint32_t number = index_.find(block.home);
  if (number == kNone) return false;
  const Entry& found = entry(number);
  return found.writing && batch(found.batch).sequence == block.sequence;
}

void HomeMap::written(const std::vector<Homeless>& blocks) {
  std::vector<std::uint64_t> owners;
  owners.reserve(blocks.size());
  for (const Homeless& block : blocks) {
    if (!is_current(block)) continue;
    const std::uint32_t number = index_.find(block.home);
    owners.push_back(entry(number).batch);
    drop(number);
  }
  if (owners.empty()) return;
  std::sort(owners.begin(), owners.end());
  Wave wave{++flush_mark_, {}};
  for (const std::uint64_t owner : owners) {
    if (wave.blocks.empty() || wave.blocks.back().first != owner) wave.blocks.push_back({owner, 0});
    ++wave.blocks.back().second;
  }
  waves_.push_back(std::move(wave));
  pop_batches();
}

void HomeMap::flushed(std::uint64_t upto) {
  CHECK_LE(upto, flush_mark_);
  while (!waves_.empty() && waves_.front().mark <= upto) {
    for (const auto& [owner, count] : waves_.front().blocks) {
      CHECK_GE(batch(owner).live, count);
      batch(owner).live -= count;
    }
    waves_.pop_front();
  }
  pop_batches();
}

void HomeMap::pop_batches() {
  // The last one may still be growing.
  while (batches_.size() > 1 && batches_.front().live == 0) {
    batches_.pop_front();
    ++first_batch_;
  }
  first_homeless_ = std::max(first_homeless_, first_batch_);
  const std::uint64_t end = first_batch_ + batches_.size();
  while (first_homeless_ + 1 < end && batch(first_homeless_).homeless == 0) ++first_homeless_;
}

std::uint64_t HomeMap::tail_sequence(std::uint64_t applied) const {
  for (const Batch& batch : batches_) {
    if (batch.live != 0) return std::min(applied, batch.sequence - 1);
  }
  return applied;
}

std::optional<std::uint64_t> HomeMap::oldest() const {
  if (empty()) return std::nullopt;
  const std::uint64_t end = first_batch_ + batches_.size();
  for (std::uint64_t number = first_homeless_; number < end; ++number) {
    if (batch(number).homeless != 0) return batch(number).sequence;
  }
  return std::nullopt;
}

std::vector<std::uint64_t> HomeMap::homes() const {
  std::vector<std::uint64_t> all;
  for (std::uint32_t number = oldest_; number != kNone; number = entry(number).next) {
    all.push_back(entry(number).home);
  }
  return all;
}

void HomeMap::check_invariants() const {
  std::size_t homeless = 0;
  std::size_t live = 0;
  for (std::size_t i = 0; i < batches_.size(); ++i) {
    CHECK_GE(batches_[i].live, batches_[i].homeless);
    CHECK(i == 0 || batches_[i - 1].sequence < batches_[i].sequence);
    homeless += batches_[i].homeless;
    live += batches_[i].live;
  }
  std::size_t unflushed = 0;
  for (const Wave& wave : waves_) {
    CHECK_LE(wave.mark, flush_mark_);
    for (const auto& [owner, count] : wave.blocks) unflushed += count;
  }
  CHECK_EQ(homeless, index_.size());
  CHECK_EQ(live, homeless + unflushed);
  ByteCount kept = 0;
  std::uint64_t batch_before = 0;
  for (std::uint32_t number = oldest_; number != kNone; number = entry(number).next) {
    const Entry& one = entry(number);
    CHECK(!one.writing);
    CHECK_EQ(index_.find(one.home), number);
    CHECK_GE(one.batch, batch_before);
    batch_before = one.batch;
    kept += one.place.bytes.size();
  }
  CHECK_LE(kept, kept_bytes_);
  CHECK_LE(kept_bytes_, keep_bytes_);
}

}  // namespace cairn::chunkserver::store
