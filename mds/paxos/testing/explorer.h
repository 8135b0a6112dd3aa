// Explorer: every interleaving of a tiny run: two would-be leaders among three members, each with a
// value of its own; every message may arrive at any time or never, every write may take any time,
// members may crash at any point.
//
// Promises: looks at each world once (worlds that differ only in the order of unrelated steps are
//           one). Stops at the first one in which two members have different values in a slot, or
//           one accepts below its promise.
// Requires: clocks do not matter: hold and lease are zero, so only Paxos itself protects.
// Limits:   Plan::worlds_max.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/base/prng.h"
#include "mds/paxos/testing/cluster.h"

namespace cairn::mds::paxos::testing {

struct Plan {
  std::array<unsigned, 3> campaigns{1, 1, 0};  // how often each may try
  unsigned crashes = 0;                        // in all
  std::array<bool, 3> may_crash{true, true, true};
  unsigned repeats = 0;     // messages that arrive twice, in all
  bool slow_disks = false;  // other things happen before a write is done, not only a crash
  Sabotage sabotage = Sabotage::kNone;
  std::size_t worlds_max = 2'000'000;
};

struct Outcome {
  std::string violation;  // empty: none
  bool complete = false;  // nothing was left out
  std::size_t worlds = 0;
  std::size_t lives = 0;                    // different things that happened to one member
  std::map<std::string, std::size_t> ends;  // what slot 1 was chosen with, in how many worlds
};

class Explorer {
 public:
  explicit Explorer(Plan plan) : plan_(plan) {}
  Outcome explore();

 private:
  enum class Kind : std::uint8_t { kBegin, kCampaign, kDeliver, kPersist, kCrash };
  struct Input {
    Kind kind = Kind::kBegin;
    std::uint32_t letter = 0;
  };
  // One member after a sequence of inputs: it decides everything about it.
  struct Past {
    std::uint32_t member = 0;
    std::uint32_t before = 0;  // the past without the last input
    Input input;
    Disk disk;
    std::vector<Record> unwritten;
    std::uint64_t last_record = 0;
    std::map<Slot, std::string> chosen;
    unsigned lives = 1;
    Ballot said;  // the highest promise that others heard of
    std::string violation;
  };
  struct Step {
    std::uint32_t past = 0;
    std::vector<std::uint32_t> sent;
  };
  struct World {
    std::array<std::uint32_t, 3> pasts{};
    std::vector<std::uint32_t> letters;  // under way, ascending
    std::array<unsigned, 3> campaigns{};
    unsigned crashes = 0;
    unsigned repeats = 0;
  };

  std::uint32_t begin(std::uint32_t member);
  // The past that continues `past` with `input`.
  const Step& follow(std::uint32_t past, Input input);
  std::unique_ptr<Replica> relive(std::uint32_t past) const;
  static void put_in(Replica& core, const Input& input, const std::vector<Letter>& letters,
                     const Past& past);
  // One that is no different in anything that matters; itself when it is the first.
  std::uint32_t same_as(Past past, const Replica& core);
  // The leader has one command a life, from the moment on when it leads.
  static void propose_own(Replica& core, const Past& past);
  void take_out(Replica& core, Past* past, std::vector<std::uint32_t>* sent);
  std::uint32_t letter_of(const Letter& letter);
  void step(const World& world, std::uint32_t member, Input input, std::vector<World>* next);
  void take(World* world, std::uint32_t member, Input input);
  // Of a ballot below what the receiver surely has promised: it would be refused.
  void drop_refused(World* world) const;
  std::vector<World> all_next(const World& world);
  void look_at(const World& world);
  bool seen(const World& world);

  const Plan plan_;
  Outcome outcome_;
  Prng order_{1};
  std::vector<Past> pasts_;
  std::unordered_map<std::uint64_t, Step> continued_;  // by past and input
  std::map<std::string, std::uint32_t> alike_;         // by all that decides what comes next
  std::vector<Letter> letters_;
  std::vector<Ballot> ballots_;  // of them
  std::map<std::string, std::uint32_t> letter_ids_;
  std::unordered_set<std::uint64_t> seen_;
};

}  // namespace cairn::mds::paxos::testing
