#include "chunkserver/control/journal_change.h"

#include <fmt/format.h>

#include <filesystem>

namespace cairn::chunkserver::control {
namespace {

bool same(const store::RingPlan& a, const store::RingPlan& b) {
  return a.directory == b.directory && a.bytes == b.bytes && a.journal == b.journal;
}

}  // namespace

store::RingPlan ring_of(const store::StoreStatistics& statistics) {
  return {.directory = statistics.journal_directory,
          .bytes = statistics.journal_bytes,
          .journal = statistics.journal};
}

std::vector<store::RingPlan> journal_steps(const store::RingPlan& now,
                                           const store::RingPlan& wanted) {
  if (same(now, wanted)) return {};
  if (now.directory != wanted.directory || wanted.directory.empty()) return {wanted};
  const store::RingPlan between{
      .directory = {}, .bytes = cairn::cluster::kJournalBytesDefault, .journal = now.journal};
  return {between, wanted};
}

namespace {

bool is_same_place(const std::string& a, const std::string& b) {
  std::error_code unknown;
  return !a.empty() && !b.empty() && std::filesystem::equivalent(a, b, unknown);
}

}  // namespace

std::string describe(const store::RingPlan& plan) {
  if (!plan.journal) return "no journal";
  return fmt::format("a journal of {} MB {}", plan.bytes / 1_MiB,
                     plan.directory.empty() ? "in the repository" : "at " + plan.directory);
}

Task<Status> change_journal(store::PieceStore* store, const JournalPlaces* places,
                            store::RingPlan wanted) {
  const std::vector<store::RingPlan> steps = journal_steps(ring_of(store->statistics()), wanted);
  for (const store::RingPlan& step : steps) {
    const bool outside = !step.directory.empty();
    if (outside && is_same_place(step.directory, store->statistics().journal_directory)) {
      // Under another name: what follows would take the journal in use for a left-over.
      co_return fail(Code::kInvalidArgument,
                     step.directory + " is where the journal is now, under another name");
    }
    if (outside) {
      const Status taken = places->take(step.directory, step.bytes);
      if (!taken.has_value()) {
        const Status released = places->release(step.directory);
        ignore(released, "it was refused first");
        co_return taken;
      }
    }
    store::RingPlan plan = step;
    const Status switched = co_await store->switch_ring(std::move(plan));
    if (switched.has_value()) continue;
    if (outside && store->statistics().journal_directory != step.directory) {
      const Status released = places->release(step.directory);
      ignore(released, "the switch failed first");
    }
    co_return switched;
  }
  co_return Status();
}

}  // namespace cairn::chunkserver::control
