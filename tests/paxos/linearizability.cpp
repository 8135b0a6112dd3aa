#include "tests/paxos/linearizability.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "common/base/check.h"

namespace cairn::paxos_sim {

namespace {

// Calls and returns in the order of time, as a doubly linked list, so that an operation that was
// put into the order is taken out and put back in O(1). Entry 0 is the head.
struct Entry {
  std::uint32_t operation = 0;
  std::uint32_t match = 0;  // of a call: its return; of a return: 0
  std::uint32_t before = 0;
  std::uint32_t after = 0;
};

struct Reached {
  std::uint64_t operations = 0;
  std::uint64_t more = 0;
  bool operator==(const Reached&) const = default;
};
struct ReachedHash {
  std::size_t operator()(const Reached& r) const { return r.operations ^ (r.more * 31); }
};

class Search {
 public:
  Search(std::span<const Operation> operations, std::uint64_t initial)
      : operations_(operations), state_(initial) {
    build();
  }

  Verdict run(std::uint64_t steps_max) {
    std::uint32_t at = 0;  // 0: a new state was reached
    for (std::uint64_t step = 0; step < steps_max; ++step) {
      // What never returned may also never have happened.
      if (returns_left_ == 0) return Verdict::kLinearizable;
      if (at == 0) {
        if (take_free()) continue;
        at = entries_[0].after;
      }
      CHECK_NE(at, 0u);
      if (entries_[at].match != 0) {
        at = try_take(at) ? 0 : entries_[at].after;
        continue;
      }
      // A return whose call is not in the order: nothing before it is left to try.
      at = put_back();
      if (at == 0) return Verdict::kNot;
    }
    return Verdict::kGaveUp;
  }

 private:
  struct Taken {
    std::uint32_t call;
    std::uint64_t state_before;
    bool free = false;
  };

  void build() {
    struct Moment {
      std::uint64_t at;
      std::uint32_t operation;
      bool is_call;
    };
    std::vector<Moment> moments;
    for (std::uint32_t i = 0; i < operations_.size(); ++i) {
      const Operation& operation = operations_[i];
      const bool returned = operation.returned != kNeverReturned;
      // A read without an answer says nothing.
      if (!returned && operation.op.kind == OpKind::kRead) continue;
      CHECK_LT(operation.called, operation.returned);
      moments.push_back({operation.called, i, true});
      moments.push_back({operation.returned, i, false});
      if (returned) ++returns_left_;
    }
    std::stable_sort(moments.begin(), moments.end(),
                     [](const Moment& a, const Moment& b) { return a.at < b.at; });
    entries_.resize(moments.size() + 1);
    std::vector<std::uint32_t> call_of(operations_.size(), 0);
    for (std::uint32_t i = 0; i < moments.size(); ++i) {
      const std::uint32_t at = i + 1;
      entries_[at] = {moments[i].operation, 0, i, i + 2 <= moments.size() ? i + 2 : 0};
      if (moments[i].is_call) {
        call_of[moments[i].operation] = at;
      } else {
        entries_[call_of[moments[i].operation]].match = at;
      }
    }
    entries_[0].after = moments.empty() ? 0 : 1;
  }

  // What fits now and changes nothing can as well be next: if there is an order at all, there is
  // one with it here, so nothing else has to be tried in its place.
  bool take_free() {
    for (std::uint32_t at = entries_[0].after; entries_[at].match != 0; at = entries_[at].after) {
      const Operation& operation = operations_[entries_[at].operation];
      if (operation.returned == kNeverReturned) continue;
      const RegisterStep step = apply_op(state_, operation.op);
      if (step.state != state_ || step.result != operation.result) continue;
      take(at, state_, true);
      return true;
    }
    return false;
  }

  // Puts the call at `at` next into the order, if its answer fits and that leads to something new.
  bool try_take(std::uint32_t at) {
    const Operation& operation = operations_[entries_[at].operation];
    const RegisterStep step = apply_op(state_, operation.op);
    if (operation.returned != kNeverReturned && step.result != operation.result) return false;
    if (!seen_.insert(reached_with(entries_[at].operation, step.state)).second) return false;
    take(at, step.state, false);
    return true;
  }

  void take(std::uint32_t at, std::uint64_t state_after, bool free) {
    taken_.push_back({at, state_, free});
    state_ = state_after;
    toggle(entries_[at].operation);
    unlink(at);
    unlink(entries_[at].match);
    if (operations_[entries_[at].operation].returned != kNeverReturned) --returns_left_;
  }

  // Undoes the last one that was a choice; the search goes on behind its call. 0: there was none.
  std::uint32_t put_back() {
    while (!taken_.empty()) {
      const Taken last = taken_.back();
      taken_.pop_back();
      const std::uint32_t operation = entries_[last.call].operation;
      state_ = last.state_before;
      toggle(operation);
      relink(entries_[last.call].match);
      relink(last.call);
      if (operations_[operation].returned != kNeverReturned) ++returns_left_;
      if (!last.free) return entries_[last.call].after;
    }
    return 0;
  }

  void unlink(std::uint32_t at) {
    entries_[entries_[at].before].after = entries_[at].after;
    if (entries_[at].after != 0) entries_[entries_[at].after].before = entries_[at].before;
  }
  void relink(std::uint32_t at) {
    entries_[entries_[at].before].after = at;
    if (entries_[at].after != 0) entries_[entries_[at].after].before = at;
  }

  // The set of operations in the order is known by the exclusive or of one number each.
  void toggle(std::uint32_t operation) {
    set_low_ ^= mix(0x51, operation);
    set_high_ ^= mix(0xa7, operation);
  }
  Reached reached_with(std::uint32_t operation, std::uint64_t state) const {
    return {mix(set_low_ ^ mix(0x51, operation), state),
            mix(set_high_ ^ mix(0xa7, operation), state + 1)};
  }

  std::span<const Operation> operations_;
  std::uint64_t state_;
  std::vector<Entry> entries_;
  std::vector<Taken> taken_;
  std::unordered_set<Reached, ReachedHash> seen_;
  std::uint64_t set_low_ = 0;
  std::uint64_t set_high_ = 0;
  std::uint64_t returns_left_ = 0;
};

}  // namespace

Verdict check_linearizable(std::span<const Operation> operations, std::uint64_t initial,
                           std::uint64_t steps_max) {
  return Search(operations, initial).run(steps_max);
}

}  // namespace cairn::paxos_sim
