#include "mds/replication/log_state.h"

#include <algorithm>

namespace cairn::mds::replication {

namespace {

void promise(LogState* state, const paxos::Ballot& ballot) {
  state->promised = std::max(state->promised, ballot);
}

void recovery(LogState* state, bool active, Slot until) {
  state->recovering = active;
  state->recover_until = until;
}

struct Advance {
  LogState* state;
  void operator()(const paxos::PromiseRecord& r) const { promise(state, r.ballot); }
  void operator()(const paxos::AcceptRecord& r) const { promise(state, r.ballot); }
  void operator()(const paxos::LearnRecord&) const {}
  void operator()(const paxos::ChosenRecord& r) const {
    state->chosen = std::max(state->chosen, r.slot);
  }
  void operator()(const paxos::RecoveryRecord& r) const { recovery(state, r.active, r.until); }
  void operator()(const FloorRecord&) const {}
};

}  // namespace

void advance(LogState* state, const paxos::Record& record) {
  state->empty = false;
  std::visit(Advance{state}, record);
}

void advance(LogState* state, const LogRecord& record) {
  state->empty = false;
  std::visit(Advance{state}, record);
}

void advance(LogState* state, const RecordView& view) {
  state->empty = false;
  switch (view.kind) {
    case RecordKind::kPromise:
    case RecordKind::kAccept:
      promise(state, view.ballot);
      return;
    case RecordKind::kLearn:
    case RecordKind::kFloor:
      return;
    case RecordKind::kChosen:
      state->chosen = std::max(state->chosen, view.slot);
      return;
    case RecordKind::kRecovery:
      recovery(state, view.active, view.slot);
      return;
  }
}

std::vector<LogRecord> prologue_of(const LogState& state, Slot floor) {
  std::vector<LogRecord> records;
  if (floor != Slot()) records.emplace_back(FloorRecord{floor});
  if (state.promised.valid()) records.emplace_back(paxos::PromiseRecord{state.promised});
  if (state.chosen != Slot()) records.emplace_back(paxos::ChosenRecord{state.chosen});
  if (state.recovering || state.recover_until != Slot()) {
    records.emplace_back(
        paxos::RecoveryRecord{.active = state.recovering, .until = state.recover_until});
  }
  return records;
}

}  // namespace cairn::mds::replication
