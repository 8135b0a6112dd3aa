// What goes on beside the calls of a simulated step: upkeep, moves of the ring, disasters.
#include <fmt/format.h>

#include "chunkserver/testing/store_sim.h"

namespace cairn::chunkserver::testing {

Task<void> StoreSim::switch_ring(store::RingPlan plan) {
  const std::string text = fmt::format("switch to '{}' {} blocks, journal {}", plan.directory,
                                       plan.bytes / kBlockBytes, plan.journal);
  note(text + " begins");
  const bool outside = !plan.directory.empty();
  store::RingPlan taken = plan;
  const Status switched = co_await world_.store().switch_ring(std::move(taken));
  if (!world_.power().up()) ++stats_.crashes_in_switch;
  note(text + (switched.has_value() ? " is done" : ": " + switched.error().to_string()));
  if (switched.has_value()) {
    ++stats_.switches;
    if (outside) ++stats_.switches_outside;
    const store::StoreStatistics now = world_.store().statistics();
    if (now.journal_directory != plan.directory || now.journal_bytes != plan.bytes ||
        now.journal != plan.journal) {
      fail_with("a ring is not where it was switched to");
    }
    co_return;
  }
  ++stats_.switches_refused;
  const Code code = switched.error().code();
  // One that is resized where it is goes by way of the data file.
  const bool full = code == Code::kNoSpace && (!outside || settings_.tight);
  const bool small = code == Code::kInvalidArgument && plan.bytes < settings_.ring_bytes_min;
  const bool refused = code == Code::kBusy || small || full;
  // A drive that fails under the new ring fences at the next use of it.
  if (refused || dead() || fault_ || is_late_fault(switched.error())) co_return;
  fail_with("a ring was not switched: " + switched.error().to_string());
}

Task<void> StoreSim::run_side(StoreSim* sim, const SideAction* side) {
  if (side->delay != Duration{}) co_await sleep_for(sim->world_.loop(), side->delay);
  store::PieceStore& store = sim->world_.store();
  Status done;
  switch (side->kind) {
    case SideAction::Kind::kCheckpoint: {
      ++sim->stats_.checkpoints;
      done = co_await store.checkpoint();
      break;
    }
    case SideAction::Kind::kCommit: {
      ++sim->stats_.commits;
      done = co_await store.commit_all();
      break;
    }
    case SideAction::Kind::kSwitch: {
      store::RingPlan plan = side->ring;
      co_await sim->switch_ring(std::move(plan));
      break;
    }
    case SideAction::Kind::kHeal: {
      const bool healed = co_await sim->heal_damaged();
      static_cast<void>(healed);
      break;
    }
    case SideAction::Kind::kScrub: {
      const Result<std::optional<PieceId>> first = co_await store.next_piece(std::nullopt);
      if (!first.has_value()) done = fail(first.error());
      if (first.has_value() && first->has_value()) {
        const Result<std::vector<store::BlockRange>> stored =
            co_await store.stored(**first, 0, 1000);
        if (!stored.has_value() && stored.error().code() != Code::kPieceMissing) {
          done = fail(stored.error());
        }
      }
      break;
    }
  }
  if (!done.has_value() && !sim->dead()) {
    sim->fail_with("a side action fails: " + done.error().to_string());
  }
}

Task<void> StoreSim::run_disaster(StoreSim* sim, const Disaster* disaster) {
  StoreWorld& world = sim->world_;
  if (disaster->delay != Duration{}) co_await sleep_for(world.loop(), disaster->delay);
  if (!world.power().up()) co_return;
  io::SimDisk* disk = &world.disk();
  io::SimDisk* ring = world.ring_disk(world.store().statistics().journal_directory);
  if (disaster->at_ring && ring != nullptr) disk = ring;
  switch (disaster->kind) {
    case Disaster::Kind::kNone:
    case Disaster::Kind::kPower:
      break;
    case Disaster::Kind::kFailWrites:
      disk->fail_writes(true);
      ++sim->stats_.failed_writes;
      break;
    case Disaster::Kind::kFailFlush:
      disk->fail_next_flush(disaster->seed);
      sim->flush_fault_ = true;
      ++sim->stats_.failed_flushes;
      break;
    case Disaster::Kind::kFailIndex:
      world.kv().fail_writes(true);
      ++sim->stats_.failed_indexes;
      break;
    case Disaster::Kind::kStall: {
      disk->stall(true);
      ++sim->stats_.stalls;
      co_await sleep_for(world.loop(), 30s);
      // Whoever watches over requests has seen enough.
      const Error error(Code::kTimeout, "a request hangs");
      if (world.power().up()) world.store().fence(error);
      // Calls whose own request hangs end with it.
      co_await sleep_for(world.loop(), 1s);
      disk->stall(false);
      break;
    }
  }
}

}  // namespace cairn::chunkserver::testing
