// The short programs, as lists of steps.
#include "chunkserver/testing/short_programs.h"

#include <array>

#include "chunkserver/testing/store_world.h"

namespace cairn::chunkserver::testing {
namespace {

constexpr std::uint64_t kA = 250;  // blocks of the area
constexpr std::uint64_t kB = 256;

// Says what a program does, in the order of its steps.
class Steps {
 public:
  Steps& small(std::uint64_t piece, std::uint64_t first, std::uint64_t count = 1) {
    return prepare(piece, [&](ModelPrepare* p) { fill(&p->writes, first, count); });
  }
  Steps& large(std::uint64_t piece) {
    return prepare(piece, [&](ModelPrepare* p) { fill(&p->writes, kA, 12); });
  }
  Steps& delta(std::uint64_t piece, std::uint64_t first, std::uint64_t count = 1) {
    return prepare(piece, [&](ModelPrepare* p) { fill(&p->deltas, first, count); });
  }
  Steps& mixed(std::uint64_t piece) {
    return prepare(piece, [&](ModelPrepare* p) {
      fill(&p->writes, kA, 2);
      fill(&p->deltas, kA + 3, 2);
      p->zeroes = {kB, kB + 1};
    });
  }
  Steps& punch(std::uint64_t piece, std::uint64_t first, std::uint64_t count) {
    return prepare(piece, [&](ModelPrepare* p) {
      for (std::uint64_t i = 0; i < count; ++i) p->zeroes.insert(first + i);
    });
  }
  // Everything before is decided.
  // `version`: of the map; 0: unknown.
  Steps& settle(std::uint64_t piece, std::uint64_t version = 0) {
    return call(piece, ModelSettle{epochs_[piece], seqs_[piece] + 1, version});
  }
  Steps& seal(std::uint64_t piece) { return call(piece, ModelSeal{2, ++epochs_[piece]}); }
  Steps& resolve(std::uint64_t piece, std::set<ModelOp> forward) {
    return call(piece, ModelResolve{2, epochs_[piece], std::move(forward)});
  }
  Steps& remove(std::uint64_t piece) { return call(piece, ModelRemove{}); }
  Steps& checkpoint() { return side({SideAction::Kind::kCheckpoint, {}, {}}); }
  Steps& commit() { return side({SideAction::Kind::kCommit, {}, {}}); }
  Steps& ring(std::string directory, std::uint64_t blocks, bool journal = true) {
    return side(
        {SideAction::Kind::kSwitch, {std::move(directory), blocks * kBlockBytes, journal}, {}});
  }
  // What follows belongs to one step until then().
  Steps& together() {
    together_ = true;
    steps_.emplace_back();
    return *this;
  }
  Steps& then() {
    together_ = false;
    return *this;
  }
  // Delayed work comes to its turn.
  Steps& pause() {
    PlannedCall read{piece_id(1), ModelRead{{{kA, 1}}}, 1s};
    next().calls.push_back(std::move(read));
    return *this;
  }
  std::vector<StepPlan> take() { return std::move(steps_); }

 private:
  StepPlan& next() {
    if (!together_) steps_.emplace_back();
    return steps_.back();
  }
  void fill(BlockValues* blocks, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) (*blocks)[first + i] = values_.next();
  }
  template <class Fill>
  Steps& prepare(std::uint64_t piece, Fill fill) {
    ModelPrepare prepare;
    prepare.version = epochs_[piece] == 0 ? 1 : 2;
    if (epochs_[piece] == 0) epochs_[piece] = 1;
    prepare.version = epochs_[piece] == 1 ? 1 : 2;
    prepare.op = {epochs_[piece], ++seqs_[piece]};
    fill(&prepare);
    return call(piece, std::move(prepare));
  }
  Steps& call(std::uint64_t piece, ModelCall call) {
    next().calls.push_back({piece_id(piece), std::move(call), {}});
    return *this;
  }
  Steps& side(SideAction action) {
    next().sides.push_back(std::move(action));
    return *this;
  }

  Prng values_{4711};
  std::map<std::uint64_t, std::uint64_t> epochs_;
  std::map<std::uint64_t, std::uint64_t> seqs_;
  std::vector<StepPlan> steps_;
  bool together_ = false;
};

struct Program {
  std::string_view name;
  std::vector<StepPlan> (*make)();
};

constexpr std::array kPrograms = {
    Program{"small and large beside each other",
            [] {
              return Steps()
                  .together()
                  .small(1, kA)
                  .large(2)
                  .small(3, kB, 3)
                  .then()
                  .settle(1)
                  .small(1, kA)
                  .settle(2)
                  .large(2)
                  .settle(2)
                  .take();
            }},
    Program{"deltas are folded",
            [] {
              return Steps()
                  .small(1, kA, 2)
                  .settle(1)
                  .delta(1, kA, 2)
                  .settle(1)
                  .delta(1, kA)
                  .settle(1)
                  .pause()
                  .mixed(1)
                  .settle(1)
                  .pause()
                  .checkpoint()
                  .take();
            }},
    Program{"overwritten, freed, used again",
            [] {
              return Steps()
                  .large(1)
                  .settle(1)
                  .small(1, kA, 2)
                  .settle(1)
                  .checkpoint()
                  .large(1)
                  .settle(1)
                  .commit()
                  .large(2)
                  .settle(2)
                  .take();
            }},
    Program{"removed and made again",
            [] {
              return Steps()
                  .together()
                  .small(1, kA, 2)
                  .large(2)
                  .then()
                  .remove(1)
                  .checkpoint()
                  .remove(2)
                  .large(3)
                  .settle(3)
                  .take();
            }},
    Program{"sealed and resolved",
            [] {
              return Steps()
                  .small(1, kA)
                  .delta(1, kB)
                  .mixed(1)
                  .seal(1)
                  .resolve(1, {{1, 1}, {1, 3}})
                  .pause()
                  .checkpoint()
                  .small(1, kA)
                  .take();
            }},
    Program{"settled at a newer version",
            [] {
              return Steps()
                  .small(1, kA)
                  .together()
                  .delta(1, kA)
                  .small(2, kB)
                  .then()
                  .settle(1, 3)
                  .settle(2, 1)
                  .small(1, kB)
                  .settle(2, 2)
                  .pause()
                  .checkpoint()
                  .take();
            }},
    Program{"punched",
            [] {
              return Steps()
                  .large(1)
                  .settle(1)
                  .punch(1, kA + 2, 4)
                  .settle(1)
                  .checkpoint()
                  .delta(1, kA + 3)
                  .settle(1)
                  .pause()
                  .take();
            }},
    Program{"the ring grows and shrinks",
            [] {
              return Steps()
                  .small(1, kA, 2)
                  .together()
                  .ring("", 64)
                  .small(1, kB)
                  .large(2)
                  .then()
                  .settle(1)
                  .small(1, kA)
                  .ring("", 40)
                  .small(1, kB)
                  .take();
            }},
    Program{"the ring goes out and comes back",
            [] {
              return Steps()
                  .small(1, kA, 2)
                  .together()
                  .ring("/ssd2", 48)
                  .small(1, kB)
                  .large(2)
                  .then()
                  .settle(2)
                  .delta(2, kA)
                  .together()
                  .ring("", 32)
                  .small(1, kA)
                  .large(3)
                  .then()
                  .settle(1)
                  .take();
            }},
    Program{"the ring is made larger where it is",
            [] {
              return Steps()
                  .small(1, kA, 2)
                  .ring("/ssd1", 40)
                  .small(1, kA)
                  .large(2)
                  .ring("/ssd1", 64)
                  .small(1, kB)
                  .settle(1)
                  .take();
            }},
    Program{"the journal is taken away and given back",
            [] {
              return Steps()
                  .small(1, kA)
                  .ring("", 32, false)
                  .small(1, kA + 1)
                  .delta(1, kA)
                  .settle(1)
                  .ring("", 32, true)
                  .small(1, kA + 2)
                  .take();
            }},
};

}  // namespace

std::size_t short_programs() { return kPrograms.size(); }
std::string_view short_program_name(std::size_t program) { return kPrograms[program].name; }
std::vector<StepPlan> short_program(std::size_t program) { return kPrograms[program].make(); }

}  // namespace cairn::chunkserver::testing
