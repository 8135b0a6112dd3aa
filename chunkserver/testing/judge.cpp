#include "chunkserver/testing/judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::testing {
namespace {

BlockValues part_of(const BlockValues& blocks, const ModelRead& read) {
  BlockValues part;
  for (const auto& [first, count] : read.ranges) {
    for (auto it = blocks.lower_bound(first); it != blocks.end() && it->first < first + count;
         ++it) {
      part.insert(*it);
    }
  }
  return part;
}

// No answer, or one that says that the store died.
bool is_open(const TimedCall& call) {
  return !call.answer.has_value() ||
         (call.answer->code.has_value() && says_died(*call.answer->code));
}

class Search {
 public:
  Search(const std::vector<TimedCall>& calls, const std::optional<PieceSight>& after, Ending ending)
      : after_(after), crashed_(ending == Ending::kCrashed) {
    for (const TimedCall& call : calls) {
      const bool reads = std::holds_alternative<ModelRead>(call.call);
      if (reads && is_open(call)) continue;
      (reads ? reads_ : changes_).push_back(&call);
    }
    std::ranges::sort(reads_, {}, &TimedCall::begun);
    CHECK_LE(changes_.size(), std::size_t{16});
    CHECK_LE(reads_.size(), std::size_t{16});
  }

  std::optional<PieceModel> run(const PieceModel& before) {
    if (go(State{before, before, 0, 0, 0, false})) return found_;
    return std::nullopt;
  }

 private:
  struct State {
    PieceModel staged;             // with all that was taken
    PieceModel durable;            // with what is not lost
    std::uint32_t placed = 0;      // changes that have their place or were lost
    std::uint32_t seals_open = 0;  // of them: seals whose list was not seen yet
    std::uint32_t reads_seen = 0;
    bool lost = false;  // something before was lost
  };
  static bool has(std::uint32_t set, std::size_t i) { return (set >> i & 1) != 0; }
  static void add(std::uint32_t* set, std::size_t i) { *set |= std::uint32_t{1} << i; }

  bool go(State state) {
    match_seals(&state);
    match_reads(&state);
    if (state.placed + 1 == (std::uint32_t{1} << changes_.size())) return accept(state);
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (has(state.placed, i) || !may_be_next(state, i)) continue;
      State next = state;
      add(&next.placed, i);
      if (place(next, i)) return true;
    }
    return false;
  }

  bool accept(const State& state) {
    if (state.seals_open != 0) return false;
    if (state.reads_seen + 1 != (std::uint32_t{1} << reads_.size())) return false;
    if (after_.has_value() && state.durable.sight() != *after_) return false;
    found_ = state.durable;
    return true;
  }

  // Everything that ended before it began has its place, and no read that ended before is left.
  bool may_be_next(const State& state, std::size_t index) const {
    const std::uint64_t begun = changes_[index]->begun;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (has(state.placed, i) || i == index) continue;
      if (changes_[i]->ended != 0 && changes_[i]->ended < begun) return false;
    }
    for (std::size_t i = 0; i < reads_.size(); ++i) {
      if (!has(state.reads_seen, i) && reads_[i]->ended < begun) return false;
    }
    return true;
  }

  void match_seals(State* state) const {
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (!has(state->seals_open, i)) continue;
      const CallAnswer& answer = *changes_[i]->answer;
      const bool fits = !answer.code.has_value() && answer.listed == state->durable.listed() &&
                        answer.settled == state->durable.settled();
      // A removal right behind it leaves nothing to list.
      if (fits || !state->durable.exists()) {
        state->seals_open &= ~(std::uint32_t{1} << i);
      }
    }
  }

  void match_reads(State* state) const {
    // In the order of their begin: one that ended before another began comes before it.
    for (std::size_t i = 0; i < reads_.size(); ++i) {
      if (!has(state->reads_seen, i) && may_see(*state, i) && sees(*state, *reads_[i])) {
        add(&state->reads_seen, i);
      }
    }
  }

  // What was answered as done before the read began is there. (A settle answers before that.)
  bool may_see(const State& state, std::size_t index) const {
    const std::uint64_t begun = reads_[index]->begun;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      const TimedCall& call = *changes_[i];
      const bool is_done = call.answer.has_value() && !call.answer->code.has_value() &&
                           !std::holds_alternative<ModelSettle>(call.call);
      if (is_done && !has(state.placed, i) && call.ended < begun) return false;
    }
    for (std::size_t i = 0; i < reads_.size(); ++i) {
      if (!has(state.reads_seen, i) && reads_[i]->ended < begun) return false;
    }
    return true;
  }

  static bool sees(const State& state, const TimedCall& read) {
    PieceModel model = state.durable;
    if (model.call(read.call) != read.answer->code) return false;
    return read.answer->code.has_value() ||
           part_of(model.newest(), std::get<ModelRead>(read.call)) == read.answer->view;
  }

  bool place(const State& state, std::size_t index) {
    const TimedCall& call = *changes_[index];
    if (is_open(call)) return place_open(state, call);
    const std::optional<Code> code = call.answer->code;
    if (code == Code::kNoSpace || code == Code::kOverloaded) return go(state);
    State next = state;
    const bool seals = std::holds_alternative<ModelSeal>(call.call);
    const std::optional<Code> verdict = next.staged.call(call.call);
    // A seal that was taken has nothing to tell when a removal was right behind it.
    const bool overtaken = seals && !verdict.has_value() && code == Code::kPieceMissing;
    if (code == Code::kPieceMissing && may_be_buried(state.staged, call.call) && go(state)) {
      return true;
    }
    if (verdict != code && !overtaken) return false;
    if (code.has_value() && !overtaken) return go(std::move(next));
    if (seals) add(&next.seals_open, index);
    if (take(next, call)) return true;
    // A settle answers at once.
    if (!crashed_ || !std::holds_alternative<ModelSettle>(call.call)) return false;
    next.lost = true;
    return go(std::move(next));
  }

  static bool may_be_buried(const PieceModel& model, const ModelCall& call) {
    const auto* prepare = std::get_if<ModelPrepare>(&call);
    return prepare != nullptr && !model.exists() && prepare->version <= model.removed_at_most();
  }

  // Taken or not, durable or lost: all is possible.
  bool place_open(const State& state, const TimedCall& call) {
    if (!crashed_) return false;
    State next = state;
    if (!next.staged.call(call.call).has_value()) {
      if (take(next, call)) return true;
      next.lost = true;
      if (go(next)) return true;
    }
    return go(state);
  }

  // The call becomes durable, too.
  bool take(const State& state, const TimedCall& call) {
    State next = state;
    const bool refused = next.durable.call(call.call).has_value();
    if (!refused && go(next)) return true;
    // It was checked when something was thought to come that is lost now.
    if (!state.lost) return false;
    next.durable = state.durable;
    next.durable.call_after_loss(call.call, state.staged.epoch());
    return go(std::move(next));
  }

  const std::optional<PieceSight>& after_;
  bool crashed_;
  std::vector<const TimedCall*> changes_;
  std::vector<const TimedCall*> reads_;
  PieceModel found_;
};

}  // namespace

bool says_died(Code code) {
  switch (code) {
    case Code::kDiskFailed:
    case Code::kJournalFailed:
    case Code::kTimeout:
    case Code::kUnavailable:
      return true;
    default:
      return false;
  }
}

std::string describe(const TimedCall& call) {
  std::string text = fmt::format("[{}-{}] {}", call.begun, call.ended, describe(call.call));
  if (!call.answer.has_value()) return text + " -> nothing";
  if (call.answer->code.has_value()) return text + " -> " + call.answer->text;
  text += " -> done";
  for (const auto& [block, value] : call.answer->view) {
    text += fmt::format(" {}={:x}", block, value >> 48);
  }
  for (const auto& [op, forwarded] : call.answer->listed) {
    text += fmt::format(" {}.{}{}", op.first, op.second, forwarded ? "f" : "");
  }
  return text;
}

std::optional<PieceModel> explain(const PieceModel& before, const std::vector<TimedCall>& calls,
                                  const std::optional<PieceSight>& after, Ending ending) {
  Search search(calls, after, ending);
  std::optional<PieceModel> found = search.run(before);
  if (!found.has_value()) return found;
  for (const TimedCall& call : calls) {
    const auto* seal = std::get_if<ModelSeal>(&call.call);
    const bool unseen =
        seal != nullptr && call.answer.has_value() && call.answer->code == Code::kPieceMissing;
    if (unseen) found->may_have_been_sealed(seal->version);
  }
  if (ending == Ending::kCrashed) found->restart();
  return found;
}

}  // namespace cairn::chunkserver::testing
