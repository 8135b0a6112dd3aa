#include "chunkserver/care/damage_ledger.h"

#include <algorithm>

namespace cairn::chunkserver::care {
namespace {

// Blocks that other pieces do not fit to are being written, mostly: nobody need know at first.
constexpr unsigned kSilentTries = 3;

}  // namespace

DamageLedger::Entry* DamageLedger::find(const store::DamagedBlock& block) {
  const auto at = entries_.find(block);
  return at == entries_.end() ? nullptr : &at->second;
}

std::vector<HealRun> DamageLedger::due(const std::vector<store::DamagedBlock>& damaged, Instant now,
                                       std::size_t blocks_max, std::size_t runs_max) {
  ++looks_;
  struct Candidate {
    Instant since;
    HealRun run;
  };
  std::vector<Candidate> runs;
  for (const store::DamagedBlock& block : damaged) {
    const auto [at, added] = entries_.try_emplace(block);
    Entry& entry = at->second;
    if (added) entry.next = now;
    entry.seen = looks_;
    if (entry.next > now) continue;
    const bool fits = !runs.empty() && runs.back().run.piece == block.piece &&
                      runs.back().run.blocks.back().block < block.block &&
                      runs.back().run.blocks.size() < blocks_max;
    if (!fits) runs.push_back({entry.next, {block.piece, {}}});
    runs.back().since = std::min(runs.back().since, entry.next);
    runs.back().run.blocks.push_back(block);
  }
  undoable_ = 0;
  std::erase_if(entries_, [this](const auto& item) { return item.second.seen != looks_; });
  for (const auto& [block, entry] : entries_) undoable_ += entry.tries != 0 ? 1 : 0;
  std::stable_sort(runs.begin(), runs.end(),
                   [](const Candidate& a, const Candidate& b) { return a.since < b.since; });
  if (runs.size() > runs_max) runs.resize(runs_max);
  std::vector<HealRun> answer;
  answer.reserve(runs.size());
  for (Candidate& candidate : runs) answer.push_back(std::move(candidate.run));
  return answer;
}

bool DamageLedger::failed(const store::DamagedBlock& block, Instant now, bool certain) {
  Entry* const entry = find(block);
  if (entry == nullptr) return false;
  if (entry->tries++ == 0) ++undoable_;
  entry->backoff = entry->backoff == Duration{}
                       ? kHealRetryFirst
                       : std::min<Duration>(entry->backoff * 2, kHealRetryMost);
  entry->next = now + entry->backoff;
  const bool say = !entry->said && (certain || entry->tries >= kSilentTries);
  entry->said = entry->said || say;
  return say;
}

void DamageLedger::healed(const store::DamagedBlock& block, Instant now) {
  Entry* const entry = find(block);
  if (entry == nullptr) return;
  if (entry->tries != 0) --undoable_;
  entry->tries = 0;
  entry->next = now + kHealRetryFirst;
}

}  // namespace cairn::chunkserver::care
