#include "tests/paxos/planted_bugs.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "tests/paxos/run.h"

namespace cairn::paxos_sim {

namespace {

// Written by the child, read by the parent when the child has ended.
struct Shared {
  std::uint64_t seed = 0;
  bool caught = false;
  char by[512] = {};
};

void search(Plan plan, std::uint64_t count, Shared* shared) {
  for (const std::uint64_t end = plan.seed + count; plan.seed < end; ++plan.seed) {
    shared->seed = plan.seed;
    const Outcome outcome = run_seed(plan);
    if (outcome.failure.empty()) continue;
    std::strncpy(shared->by, outcome.failure.c_str(), sizeof(shared->by) - 1);
    shared->caught = true;
    return;
  }
}

}  // namespace

const std::vector<PlantedBug>& planted_bugs() {
  using paxos::Sabotage;
  static const std::vector<PlantedBug> kBugs = {
      {"answer-before-durable", Sabotage::kAnswerBeforeDurable, DriverFault::kNone},
      {"forget-promise", Sabotage::kForgetPromise, DriverFault::kNone},
      {"reuse-ballot", Sabotage::kReuseBallot, DriverFault::kNone},
      {"skip-phase1", Sabotage::kSkipPhase1, DriverFault::kNone},
      {"count-removed-member", Sabotage::kCountRemovedMember, DriverFault::kNone},
      {"serve-without-lease", Sabotage::kServeWithoutLease, DriverFault::kNone},
      {"ignore-hold", Sabotage::kIgnoreHold, DriverFault::kNone},
      {"choose-before-durable", Sabotage::kChooseBeforeDurable, DriverFault::kNone},
      {"driver-apply-twice", Sabotage::kNone, DriverFault::kApplyTwice},
      {"driver-read-beneath-snapshot", Sabotage::kNone, DriverFault::kReadBeneathSnapshot},
      {"driver-serve-across-reigns", Sabotage::kNone, DriverFault::kServeAcrossReigns},
      {"driver-no-lease-check", Sabotage::kNone, DriverFault::kNoLeaseCheck},
      {"clocks-drift-too-much", Sabotage::kNone, DriverFault::kDriftTooMuch},
  };
  return kBugs;
}

const PlantedBug* find_planted_bug(std::string_view name) {
  const auto at = std::find_if(planted_bugs().begin(), planted_bugs().end(),
                               [name](const PlantedBug& bug) { return bug.name == name; });
  return at == planted_bugs().end() ? nullptr : &*at;
}

std::optional<Caught> hunt(Plan plan, std::uint64_t count) {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  auto* shared = new (memory) Shared();
  std::fflush(nullptr);
  const pid_t child = ::fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    search(plan, count, shared);
    ::_exit(0);
  }
  int status = 0;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  std::optional<Caught> caught;
  if (shared->caught) {
    caught = Caught{shared->seed, shared->by};
  } else if (!WIFEXITED(status)) {
    caught = Caught{shared->seed, "a CHECK of the core"};
  }
  CHECK_EQ(::munmap(memory, sizeof(Shared)), 0);
  return caught;
}

}  // namespace cairn::paxos_sim
