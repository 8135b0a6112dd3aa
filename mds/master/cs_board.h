// CsBoard: what the master knows of the chunk servers: the table's records plus heartbeats.
//
// States: active (heard within cs_inactive_after), inactive (silent for longer, or never heard
//         since the master started), offline (silent for cs_offline_after, or it said itself that
//         it cannot serve: a failure; that ends when it registers or reports without one).
// Pure memory: time enters as an argument.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/time.h"
#include "mds/master/chunk_health.h"
#include "mds/master/rate_window.h"
#include "mds/placement/planner.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::master {

std::string_view cs_state_text(CsState state);

// Why a CS says that it serves nothing. `why` is empty: it does serve.
struct CsFailure {
  std::string why;
  char letter = '\0';  // H S R T
  friend bool operator==(const CsFailure&, const CsFailure&) = default;
};

struct CsEntry {
  pb::CsRecord record;
  pb::CsStatistics statistics;
  CsFailure failure;
  std::string version;
  std::string engine;
  std::string repository;                 // its directory, when it told
  bool registered = false;                // in this life of the master
  Instant last_seen;                      // start of the master when it was never heard
  CsState reported = CsState::kInactive;  // the state the last event told
  char told_letter = '\0';                // of the failure the last event told; 0: none
  RateWindow<2> rates;                    // bytes read, bytes written
};

class CsBoard {
 public:
  CsBoard(Duration inactive_after, Duration offline_after)
      : inactive_after_(inactive_after), offline_after_(offline_after) {}

  struct Counts {
    unsigned active = 0;
    unsigned inactive = 0;
    unsigned offline = 0;
    friend bool operator==(const Counts&, const Counts&) = default;
  };
  Counts counts(Instant now) const;
  // Some CS has not been heard of by this master and may still come: the counts are no news yet.
  bool awaits_news(Instant now) const;

  // A record of the table, at start or when it changed.
  void put(pb::CsRecord record, Instant now);
  CsEntry* find(std::uint32_t cs_id);
  const CsEntry* find(std::uint32_t cs_id) const;
  const std::map<std::uint32_t, CsEntry>& all() const { return entries_; }

  struct Registration {
    std::string version = {};
    std::string engine = {};
    std::string repository = {};
    CsFailure failure = {};
  };
  void registered(std::uint32_t cs_id, Registration registration, Instant now);
  // Without statistics the ones of before stay.
  void heartbeat(std::uint32_t cs_id, std::optional<pb::CsStatistics> statistics, CsFailure failure,
                 Instant now);
  CsState state(const CsEntry& entry, Instant now) const;
  CsState state_of(std::uint32_t cs_id, Instant now) const;
  // Is a CS that was never heard known for less than `patience`? Right after a start it may come
  // any moment.
  bool awaits_any(Instant now, Duration patience) const;
  // The process was stopped for `gap`: nobody could be heard.
  void forgive(Duration gap);

  // Data-plane address; empty when unknown.
  std::string address(std::uint32_t cs_id) const;
  void fill_addresses(pb::Chunk* chunk) const;
  std::vector<placement::Candidate> candidates(Instant now) const;

  // CSs whose state is another than at the last call, with the old state.
  struct Change {
    std::uint32_t cs_id = 0;
    CsState before = CsState::kInactive;
    CsState after = CsState::kInactive;
  };
  std::vector<Change> take_changes(Instant now);
  // CSs with a failure of which no call told before.
  std::vector<std::uint32_t> take_failures();

 private:
  static void set_failure(CsEntry& entry, CsFailure failure);

  Duration inactive_after_;
  Duration offline_after_;
  std::map<std::uint32_t, CsEntry> entries_;
};

}  // namespace cairn::mds::master
