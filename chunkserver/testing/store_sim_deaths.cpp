// How a simulated store dies and comes back.
#include <fmt/format.h>

#include "chunkserver/store/record.h"
#include "chunkserver/testing/store_calls.h"
#include "chunkserver/testing/store_sim.h"

namespace cairn::chunkserver::testing {

void StoreSim::open() {
  if (failed()) return;
  recover();
  if (failed() || capacity_.has_value()) return;
  const store::StoreStatistics now = world_.store().statistics();
  const ByteCount ring = now.journal_directory.empty() ? now.journal_bytes : 0;
  capacity_ = now.free_bytes + now.used_bytes + ring;
}

void StoreSim::crash_second_start(std::uint64_t n, Fate fate, std::uint64_t seed) {
  start_crash_ = StartCrash{n, fate, seed};
}

void StoreSim::crash(Fate fate, std::uint64_t seed) {
  if (failed()) return;
  if (world_.power().up()) world_.power().end_now(fate, seed);
  after_death({}, true);
}

void StoreSim::survive() {
  if (!failed() && dead()) after_death({}, false);
}

void StoreSim::restart() {
  survive();
  if (failed()) return;
  note("a clean restart");
  const Status closed = world_.close();
  const bool cut = !world_.power().up();
  if (!closed.has_value() && !cut && !ring_wound_.has_value()) {
    fail_with("does not end in order: " + closed.error().to_string());
    return;
  }
  if (!cut) {
    ++stats_.clean_restarts;
    // A machine that is switched off now has lost nothing.
    world_.power().end_now(Fate::kAllLost, 1);
  } else {
    ++deaths_;
    ++stats_.power_cuts;
  }
  world_.bury();
  if (!closed.has_value()) mend_ring();
  recover();
  judge({}, Ending::kCrashed, true);
}

// A flush that was told to fail may come much later than that.
bool StoreSim::is_late_fault(const Error& error) const {
  return flush_fault_ && error.message().find("injected failure of a flush") != std::string::npos;
}

// Calls that come after a store was fenced are refused, all of them.
void StoreSim::check_fenced() {
  const Code why = world_.store().failure()->code();
  const PieceId piece = models_.begin()->first;
  std::string broken;
  for (const ModelCall& call :
       {ModelCall(ModelRead{{{kAreaFirst, kAreaBlocks}}}), ModelCall(ModelRemove{}),
        ModelCall(ModelSeal{UINT32_MAX, UINT32_MAX}),
        ModelCall(ModelPrepare{UINT32_MAX, {UINT32_MAX, 1}, 0, true, {{kAreaFirst, 1}}, {}, {}})}) {
    const CallAnswer answer = world_.loop().run(issue(&world_.store(), piece, &call, &broken));
    if (!world_.power().up()) return;
    if (answer.code != why) {
      fail_with(fmt::format("a fenced store answers {}: {}", describe(call),
                            answer.code.has_value() ? answer.text : "done"));
    }
  }
}

void StoreSim::after_death(const History& history, bool excused) {
  ++deaths_;
  bool mend = false;
  if (world_.power().up()) {
    const Error why = *world_.store().failure();
    note("fenced: " + why.to_string());
    if (why.code() == Code::kJournalFailed && ring_wound_.has_value()) {
      ++stats_.rings_refused;
      excused = true;
      mend = true;
    }
    if (is_late_fault(why)) excused = true;
    if (!excused) {
      fail_with("fenced for nothing: " + why.to_string());
      return;
    }
    check_fenced();
    if (failed()) return;
    world_.power().end_now(prng_.chance(500) ? Fate::kKilled : Fate::kBySeed, prng_.next());
  }
  ++(world_.power().fate() == Fate::kKilled ? stats_.kills : stats_.power_cuts);
  note("died");
  mend_disks();
  world_.bury();
  if (mend) mend_ring();
  recover();
  judge(history, Ending::kCrashed, true);
}

// What they lost is lost.
void StoreSim::mend_disks() {
  std::vector<io::SimDisk*> disks{&world_.disk()};
  for (const std::string& directory : world_.ring_files()) {
    disks.push_back(world_.ring_disk(directory));
  }
  for (io::SimDisk* disk : disks) {
    disk->stall(false);
    disk->fail_writes(false);
    disk->fail_reads(false);
  }
  world_.kv().fail_writes(false);
  world_.kv().fail_reads(false);
}

// Starts, however often the power ends meanwhile.
void StoreSim::recover() {
  if (failed()) return;
  if (deaths_ != 0 && prng_.chance(settings_.ring_wound_per_mille)) wound_ring();
  for (int tries = 0; !opens(); ++tries) {
    if (failed()) return;
    if (tries > 20) {
      fail_with("does not come up");
      return;
    }
  }
}

bool StoreSim::opens() {
  std::optional<StartCrash> crash;
  if (starts_++ != 0) crash = std::exchange(start_crash_, std::nullopt);
  if (!crash.has_value() && prng_.chance(settings_.crash_in_start)) {
    const Fate fate = prng_.chance(300) ? Fate::kKilled : Fate::kBySeed;
    crash = StartCrash{prng_.between(1, 12), fate, prng_.next()};
  }
  const bool ill = fail_start();
  if (crash.has_value()) world_.power().end_at_next_life(crash->at, crash->fate, crash->seed);
  const std::uint64_t before = world_.power().operations();
  const Status opened = world_.open();
  if (ill) mend_disks();
  if (opened.has_value()) {
    start_operations_ = world_.power().operations() - before;
    if (crash.has_value()) world_.power().disarm();
    note("is open");
    return true;
  }
  note("does not open: " + opened.error().to_string());
  if (!world_.power().up()) {
    ++stats_.crashes_in_start;
    world_.bury();
    return false;
  }
  world_.power().end_now(Fate::kKilled, 0);
  world_.bury();
  if (ill) ++stats_.ill_starts;
  if (ill || is_late_fault(opened.error())) return false;
  // A damaged ring in the data file is damage of that.
  const Code code = opened.error().code();
  if ((code == Code::kJournalFailed || code == Code::kCorrupt) && mend_ring()) {
    ++stats_.rings_refused;
    return false;
  }
  fail_with("does not open: " + opened.error().to_string());
  return false;
}

// Something fails in the next start, or in the life after it when it is a flush.
bool StoreSim::fail_start() {
  if (!prng_.chance(settings_.fault_per_mille)) return false;
  io::SimDisk* disk = &world_.disk();
  const std::vector<std::string> rings = world_.ring_files();
  if (!rings.empty() && prng_.chance(500)) {
    disk = world_.ring_disk(rings[prng_.below(rings.size())]);
  }
  switch (prng_.below(5)) {
    case 0:
      disk->fail_writes(true);
      break;
    case 1:
      disk->fail_reads(true);
      break;
    case 2:
      world_.kv().fail_writes(true);
      break;
    case 3:
      world_.kv().fail_reads(true);
      break;
    default:
      disk->fail_next_flush(prng_.next());
      flush_fault_ = true;
      break;
  }
  return true;
}

// Flips a bit of a batch that another whole one follows: one of the last could not be told from an
// unfinished one.
void StoreSim::wound_ring() {
  const std::optional<store::RingPlace> place = world_.ring_place();
  if (!place.has_value() || ring_wound_.has_value()) return;
  const std::uint64_t begin = place->external() ? 1 : place->first;
  const std::optional<Buffer> ring = world_.read_raw(
      place->directory, DiskOffset(begin * kBlockBytes), place->blocks * kBlockBytes);
  if (!ring.has_value()) return;
  std::map<std::uint64_t, store::Extent> batches;  // by sequence
  for (std::uint64_t i = 0; i < place->blocks; ++i) {
    const Bytes rest = ring->span().subspan(i * kBlockBytes);
    const Result<store::Batch> batch = store::decode_batch(rest, place->id);
    if (batch.has_value()) batches[batch->sequence] = {i, batch->blocks};
  }
  if (batches.size() < 2) return;
  batches.erase(std::prev(batches.end()));
  const auto chosen =
      std::next(batches.begin(), static_cast<std::ptrdiff_t>(prng_.below(batches.size())));
  const std::uint64_t at = chosen->second.first + prng_.below(chosen->second.count);
  if (at >= place->blocks) return;
  io::SimDisk* disk = place->external() ? world_.ring_disk(place->directory) : &world_.disk();
  RingWound wound{place->directory, DiskOffset((begin + at) * kBlockBytes), prng_.next(), {}};
  if (!disk->rot(wound.at, wound.seed)) return;
  wound.rotten = *world_.read_raw(wound.directory, wound.at, kBlockBytes);
  note(fmt::format("rot in block {} of the ring, batch {}", at, chosen->first));
  ring_wound_ = std::move(wound);
  ++stats_.ring_wounds;
}

// Flips the bit back, if the block was not written since. False: there was no wound.
bool StoreSim::mend_ring() {
  if (!ring_wound_.has_value()) return false;
  const RingWound wound = std::move(*ring_wound_);
  ring_wound_.reset();
  io::SimDisk* disk = wound.directory.empty() ? &world_.disk() : world_.ring_disk(wound.directory);
  if (disk == nullptr) return true;
  const std::optional<Buffer> now = world_.read_raw(wound.directory, wound.at, kBlockBytes);
  if (now.has_value() && std::ranges::equal(now->span(), wound.rotten.span())) {
    CHECK(disk->rot(wound.at, wound.seed));
  }
  return true;
}

}  // namespace cairn::chunkserver::testing
