// All of a member's state as one line a concept, for tests: what two replicas print alike, they do
// alike; apart from times.
#include <sstream>

#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

namespace {

std::ostream& operator<<(std::ostream& out, Ballot ballot) {
  return out << ballot.round << '.' << ballot.node;
}
std::ostream& operator<<(std::ostream& out, const Value& value) {
  return out << static_cast<unsigned>(value.kind) << ':' << *value.bytes;
}

// What a message that waits for the disk says; a value is given by slot and ballot.
struct Print {
  std::ostream& out;
  void operator()(const Prepare& m) const { out << "prepare " << m.ballot << ' ' << m.chosen; }
  void operator()(const Promise& m) const {
    out << "promise " << m.ballot << ' ' << m.chosen;
    for (const Accepted& one : m.accepted) out << ' ' << one.slot << '=' << one.ballot;
  }
  void operator()(const AcceptedReply& m) const {
    out << "accepted " << m.ballot << ' ' << m.first << ' ' << m.last << ' ' << m.chosen;
  }
  template <class Other>
  void operator()(const Other&) const {
    out << "another";
  }
};

}  // namespace

std::string Replica::State::dump() const {
  std::ostringstream text;
  const auto written = [this](RecordNumber record) { return out.is_durable(record) ? '+' : '-'; };
  text << "promised " << promised << (recorded < promised ? " in memory" : "")
       << written(promise_record);
  for (const auto& [slot, kept] : window) {
    text << "\nslot " << slot << ' ' << kept.ballot << ' ' << kept.value << written(kept.record)
         << (kept.sure ? " sure" : "");
  }
  for (const auto& [record, held] : out.held()) {
    text << "\nholds back, to " << held.to << ": ";
    std::visit(Print{text}, held.message);
  }
  text << "\nchosen " << chosen << " sure " << sure << " told " << told << " at " << told_ballot
       << " noted " << noted << written(noted_record) << " marked " << marked << " version "
       << membership.version;
  text << "\nfollows " << leader << " wants " << wanted << " of " << wanted_from << ' ' << hint;
  if (recovering) text << "\nrecovering until " << recover_until << ' ' << (recovery_over != 0);
  text << "\nphase " << static_cast<unsigned>(phase) << " at " << ballot << " yielded " << yielded
       << " unsaid " << unsaid << '/' << know.size() << " rounds to " << highest_round
       << (own_promise ? " own" : "") << (elected ? " led" : "");
  for (const auto& [id, known] : promises) text << " promise of " << id << " at " << known;
  text << " since " << members_since;
  for (const auto& [slot, old] : tail) {
    text << "\ntail " << slot << ' ' << old.ballot << ' ' << old.value;
  }
  if (phase != Phase::kLeading) return text.str();
  text << "\nproposed " << proposed << " barrier " << barrier << " own " << own_matched << ' '
       << changing << leaving;
  for (const Written& write : writing) text << " writes " << write.last << written(write.record);
  for (const Pending& waits : queue) text << " waits " << waits.token << ' ' << waits.value;
  for (const auto& [slot, token] : tokens) text << " token " << slot << ' ' << token;
  for (const auto& [id, peer] : peers) {
    text << "\npeer " << id << ' ' << peer.chosen << ' ' << peer.matched;
  }
  return text.str();
}

}  // namespace cairn::mds::paxos
