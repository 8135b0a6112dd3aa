#include "mds/master/cs_board.h"

#include <algorithm>

namespace cairn::mds::master {

namespace {
constexpr std::string_view kFailureLetters = "HSRT";
}

std::string_view cs_state_text(CsState state) {
  switch (state) {
    case CsState::kActive:
      return "active";
    case CsState::kInactive:
      return "inactive";
    case CsState::kOffline:
      return "offline";
  }
  return "unknown";
}

void CsBoard::put(pb::CsRecord record, Instant now) {
  const auto [at, fresh] = entries_.try_emplace(record.id());
  if (fresh) at->second.last_seen = now;
  at->second.record = std::move(record);
}

CsEntry* CsBoard::find(std::uint32_t cs_id) {
  const auto at = entries_.find(cs_id);
  return at == entries_.end() ? nullptr : &at->second;
}

const CsEntry* CsBoard::find(std::uint32_t cs_id) const {
  const auto at = entries_.find(cs_id);
  return at == entries_.end() ? nullptr : &at->second;
}

void CsBoard::registered(std::uint32_t cs_id, Registration registration, Instant now) {
  CsEntry* entry = find(cs_id);
  if (entry == nullptr) return;
  entry->registered = true;
  entry->version = std::move(registration.version);
  entry->engine = std::move(registration.engine);
  entry->repository = std::move(registration.repository);
  entry->last_seen = now;
  set_failure(*entry, std::move(registration.failure));
}

void CsBoard::heartbeat(std::uint32_t cs_id, std::optional<pb::CsStatistics> statistics,
                        CsFailure failure, Instant now) {
  CsEntry* entry = find(cs_id);
  if (entry == nullptr) return;
  entry->last_seen = now;
  set_failure(*entry, std::move(failure));
  if (!statistics.has_value()) return;
  entry->rates.add(now, {statistics->bytes_read(), statistics->bytes_written()});
  entry->statistics = std::move(*statistics);
}

void CsBoard::set_failure(CsEntry& entry, CsFailure failure) {
  entry.failure = std::move(failure);
  if (entry.failure.why.empty()) {
    entry.failure.letter = '\0';
    entry.told_letter = '\0';
  } else if (kFailureLetters.find(entry.failure.letter) == std::string_view::npos) {
    entry.failure.letter = 'H';
  }
}

CsState CsBoard::state(const CsEntry& entry, Instant now) const {
  if (!entry.failure.why.empty()) return CsState::kOffline;
  const Duration silent = now - entry.last_seen;
  if (silent >= offline_after_) return CsState::kOffline;
  return entry.registered && silent < inactive_after_ ? CsState::kActive : CsState::kInactive;
}

CsState CsBoard::state_of(std::uint32_t cs_id, Instant now) const {
  const CsEntry* entry = find(cs_id);
  return entry == nullptr ? CsState::kOffline : state(*entry, now);
}

bool CsBoard::awaits_any(Instant now, Duration patience) const {
  for (const auto& [id, entry] : entries_) {
    const bool heard = entry.registered && entry.statistics.space_bytes() != 0;
    if (!heard && now - entry.last_seen < patience) return true;
  }
  return false;
}

void CsBoard::forgive(Duration gap) {
  for (auto& [id, entry] : entries_) entry.last_seen = entry.last_seen + gap;
}

std::string CsBoard::address(std::uint32_t cs_id) const {
  const CsEntry* entry = find(cs_id);
  return entry == nullptr ? std::string() : entry->record.address();
}

void CsBoard::fill_addresses(pb::Chunk* chunk) const {
  for (pb::Piece& piece : *chunk->mutable_pieces()) {
    if (piece.cs_id() != 0) piece.set_address(address(piece.cs_id()));
  }
}

std::vector<placement::Candidate> CsBoard::candidates(Instant now) const {
  std::vector<placement::Candidate> all;
  for (const auto& [id, entry] : entries_) {
    // Before its first heartbeat a CS has told no free space: it gets nothing yet.
    all.push_back(placement::Candidate{.cs = NodeId::from_raw(id),
                                       .host = HostId::from_raw(entry.record.host_id()),
                                       .tier = entry.record.tier(),
                                       .active = state(entry, now) == CsState::kActive,
                                       .free_bytes = entry.statistics.free_bytes(),
                                       .space_bytes = entry.statistics.space_bytes(),
                                       .pieces = entry.statistics.pieces()});
  }
  return all;
}

CsBoard::Counts CsBoard::counts(Instant now) const {
  Counts counts;
  for (const auto& [id, entry] : entries_) {
    switch (state(entry, now)) {
      case CsState::kActive:
        ++counts.active;
        break;
      case CsState::kInactive:
        ++counts.inactive;
        break;
      case CsState::kOffline:
        ++counts.offline;
        break;
    }
  }
  return counts;
}

bool CsBoard::awaits_news(Instant now) const {
  return std::ranges::any_of(entries_, [&](const auto& entry) {
    return !entry.second.registered && now - entry.second.last_seen < inactive_after_;
  });
}

std::vector<CsBoard::Change> CsBoard::take_changes(Instant now) {
  std::vector<Change> changes;
  for (auto& [id, entry] : entries_) {
    const CsState after = state(entry, now);
    if (after == entry.reported) continue;
    // A new master has not heard of it yet: that says nothing.
    if (!entry.registered && entry.failure.why.empty() && now - entry.last_seen < inactive_after_) {
      continue;
    }
    changes.push_back(Change{.cs_id = id, .before = entry.reported, .after = after});
    entry.reported = after;
  }
  return changes;
}

std::vector<std::uint32_t> CsBoard::take_failures() {
  std::vector<std::uint32_t> news;
  for (auto& [id, entry] : entries_) {
    if (entry.failure.why.empty() || entry.told_letter == entry.failure.letter) continue;
    entry.told_letter = entry.failure.letter;
    news.push_back(id);
  }
  return news;
}

}  // namespace cairn::mds::master
