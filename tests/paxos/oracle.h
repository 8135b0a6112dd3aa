// Oracle: knows everything that all members ever did, in all their lives, and tells what must not
// be.
//
// Promises: the first violation is kept, with the slot, member or request it is about.
// Requires: told of every durable accept, every value a member took as chosen, every command
//           applied, every answer.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mds/paxos/replica.h"

namespace cairn::paxos_sim {

namespace paxos = mds::paxos;

class Oracle {
 public:
  Oracle(paxos::Membership bootstrap, bool white_box)
      : configs_{{Slot(), std::move(bootstrap)}}, white_box_(white_box) {}

  // ---- acceptors ----
  void accept_durable(NodeId member, const paxos::AcceptRecord& record);
  void learn_durable(NodeId member, const paxos::LearnRecord& record);
  // True: `member` has durably accepted what `ballot` proposed in this slot, in whatever life.
  bool accepted(NodeId member, Slot slot, paxos::Ballot ballot) const;

  // ---- members ----
  // `member` takes this value as chosen, from itself or from another member.
  void chosen(NodeId member, Slot slot, const paxos::Value& value);
  void applied(NodeId member, Slot slot, std::uint64_t digest);
  void executed(NodeId member, std::pair<std::uint64_t, std::uint64_t> request, Slot slot,
                std::uint64_t result);
  // Phase 1 of `ballot` is over, and `member` knows slots up to `known` as chosen.
  void elected(NodeId member, paxos::Ballot ballot, Slot known);

  // ---- clients ----
  void answered(std::pair<std::uint64_t, std::uint64_t> request, std::uint64_t result);

  // ---- what is true ----
  Slot chosen_slot() const {
    return Slot(slots_.size());
  }  // somebody knows all up to this as chosen
  // Of the value that logs hold for this slot, once it is chosen. What members give out differs
  // where a membership does not follow the one before: that is a noop to them.
  std::uint64_t log_hash(Slot slot) const;
  // This is what logs hold for `slot`, and it is chosen, whether or not anybody has said so yet.
  bool is_chosen(Slot slot, std::uint64_t hash) const;
  const paxos::Membership& config_of(Slot slot) const;
  const paxos::Membership& newest() const { return configs_.back().second; }
  // (slot, what was chosen in it); first: the bootstrap.
  const std::vector<std::pair<Slot, paxos::Membership>>& configs() const { return configs_; }
  // Newest seq of each session that was answered.
  const std::map<std::uint64_t, std::uint64_t>& answered_sessions() const { return answered_; }

  // Of a request that took effect.
  std::optional<std::uint64_t> result_of(std::pair<std::uint64_t, std::uint64_t> request) const;

  void violation(std::string what);
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

 private:
  // What a ballot proposed in a slot, and who has it on disk.
  struct Proposal {
    paxos::Ballot ballot;
    std::uint64_t hash = 0;
    std::uint64_t members = 0;  // a bit for each id
    paxos::ValueKind kind = paxos::ValueKind::kNoop;
  };
  struct Known {
    std::uint64_t hash = 0;
    std::uint64_t log_hash = 0;
    std::uint64_t digest = 0;
  };
  struct Executed {
    Slot slot;
    std::uint64_t result = 0;
  };

  std::vector<Proposal>* proposals(Slot slot);
  bool majority_accepted(Slot slot, const Proposal& proposal) const;
  void take_first(NodeId member, Slot slot, const paxos::Value& value, std::uint64_t hash);

  std::vector<std::vector<Proposal>> proposals_;  // of slot i + 1
  std::vector<Known> slots_;                      // of slot i + 1
  std::vector<std::pair<Slot, paxos::Membership>> configs_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Executed> executed_;
  std::map<std::uint64_t, std::uint64_t> answered_;
  bool white_box_;
  std::string failure_;
};

std::string to_string(paxos::Ballot ballot);

}  // namespace cairn::paxos_sim
