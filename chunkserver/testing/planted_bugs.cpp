#include "chunkserver/testing/planted_bugs.h"

#include <algorithm>

namespace cairn::chunkserver::testing {
namespace {

constexpr PlantedBug kBugs[] = {
    {"ack-before-flush", &store::Sabotage::ack_before_flush},
    {"flush-own-only", &store::Sabotage::flush_own_only},
    {"release-before-flush", &store::Sabotage::release_before_flush},
    {"release-before-index", &store::Sabotage::release_before_index},
    {"reuse-while-read", &store::Sabotage::reuse_while_read},
    {"skip-forget", &store::Sabotage::skip_forget},
    {"skip-last-batch-check", &store::Sabotage::skip_last_batch_check},
    {"unsure-start", &store::Sabotage::unsure_start},
    {"fold-twice", &store::Sabotage::fold_twice},
    {"early-superblock", &store::Sabotage::early_superblock},
    {"early-record", &store::Sabotage::early_record},
    {"double-free", &store::Sabotage::double_free},
    {"stale-zeroes", &store::Sabotage::stale_zeroes},
    {"skip-verify", &store::Sabotage::skip_verify},
};

}  // namespace

std::span<const PlantedBug> planted_bugs() { return kBugs; }

const PlantedBug* find_planted_bug(std::string_view name) {
  const auto found = std::ranges::find(kBugs, name, &PlantedBug::name);
  return found == std::end(kBugs) ? nullptr : &*found;
}

std::optional<Caught> hunt(const SimPlan& plan, std::uint64_t count) {
  SimPlan next = plan;
  for (std::uint64_t i = 0; i < count; ++i, ++next.seed) {
    const SimOutcome outcome = run_seed(next);
    if (!outcome.failure.empty()) return Caught{next.seed, outcome.failure};
  }
  return std::nullopt;
}

}  // namespace cairn::chunkserver::testing
