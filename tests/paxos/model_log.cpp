#include "tests/paxos/model_log.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace cairn::paxos_sim {

void LogImage::add(const paxos::Record& record) {
  if (const auto* promise = std::get_if<paxos::PromiseRecord>(&record)) {
    promised = std::max(promised, promise->ballot);
  } else if (const auto* accept = std::get_if<paxos::AcceptRecord>(&record)) {
    promised = std::max(promised, accept->ballot);
    if (accept->slot <= floor) return;
    paxos::Accepted& kept = slots[accept->slot];
    if (kept.slot != Slot() && !kept.ballot.valid()) return;
    kept = {.slot = accept->slot, .ballot = accept->ballot, .value = accept->value};
  } else if (const auto* learn = std::get_if<paxos::LearnRecord>(&record)) {
    if (learn->slot <= floor) return;
    slots[learn->slot] = {.slot = learn->slot, .ballot = {}, .value = learn->value};
  } else if (const auto* known = std::get_if<paxos::ChosenRecord>(&record)) {
    chosen = std::max(chosen, known->slot);
  } else if (const auto* recovery = std::get_if<paxos::RecoveryRecord>(&record)) {
    recovering = recovery->active;
    recover_until = recovery->active ? recovery->until : Slot();
  }
}

void ModelLog::hand_over(std::vector<paxos::Record> records, std::uint64_t last_record) {
  CHECK(!records.empty());
  CHECK_GT(last_record, handed_record_);
  handed_record_ = last_record;
  if (queued_.empty()) {
    queued_ = std::move(records);
  } else {
    for (paxos::Record& record : records) queued_.push_back(std::move(record));
  }
}

void ModelLog::start_write() {
  CHECK(!writing());
  CHECK(waiting());
  in_flight_ = std::exchange(queued_, {});
  in_flight_record_ = handed_record_;
}

std::vector<paxos::Record> ModelLog::finish_write() {
  CHECK(writing());
  std::vector<paxos::Record> batch = std::exchange(in_flight_, {});
  for (const paxos::Record& record : batch) image_.add(record);
  durable_record_ = in_flight_record_;
  return batch;
}

std::vector<paxos::Record> ModelLog::crash(bool whole) {
  std::vector<paxos::Record> durable;
  if (writing() && whole) durable = finish_write();
  queued_.clear();
  in_flight_.clear();
  // The records of the next life are numbered anew.
  handed_record_ = in_flight_record_ = durable_record_ = 0;
  return durable;
}

void ModelLog::lose_everything() {
  CHECK(!writing());
  image_ = LogImage();
  image_.recovering = true;
}

void ModelLog::truncate_through(Slot slot) {
  image_.floor = std::max(image_.floor, slot);
  image_.slots.erase(image_.slots.begin(), image_.slots.upper_bound(slot));
}

std::vector<paxos::Value> ModelLog::read(Slot from, Slot last, std::size_t slots_max) const {
  std::vector<paxos::Value> values;
  Slot expected = from;
  for (auto at = image_.slots.find(from); at != image_.slots.end(); ++at) {
    if (at->first != expected || at->first > last || values.size() >= slots_max) break;
    values.push_back(at->second.value);
    expected = expected.next();
  }
  return values;
}

}  // namespace cairn::paxos_sim
