#include "chunkserver/store/homer.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/crc32c.h"
#include "common/base/fault_point.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::size_t kRunBlocksMax = 1_MiB / kBlockBytes;
static_assert(kRunBlocksMax <= io::kDevicePartsMax);
// Runs on their way to a device: enough for a fast drive, and requests still find room beside them.
constexpr std::uint64_t kRunsInFlight = 16;

// Cuts items, sorted by `position`, into runs of neighbours.
template <class Position>
std::vector<std::vector<std::size_t>> runs_of(const std::vector<std::size_t>& items,
                                              const Position& position) {
  std::vector<std::vector<std::size_t>> runs;
  for (const std::size_t item : items) {
    const bool joins = !runs.empty() && runs.back().size() < kRunBlocksMax &&
                       position(runs.back().back()) + 1 == position(item);
    if (!joins) runs.emplace_back();
    runs.back().push_back(item);
  }
  return runs;
}

}  // namespace

struct Homer::Step {
  Step(runtime::Runtime& runtime, io::BlockDevice& data_device, RingDevice& ring_device,
       HomeMap& map)
      : data(data_device),
        ring(ring_device),
        homes(map),
        slots(runtime, kRunsInFlight),
        group(runtime) {}

  void fail_with(Error error) {
    if (status.has_value()) status = fail(std::move(error));
  }

  io::BlockDevice& data;
  RingDevice& ring;
  HomeMap& homes;
  std::vector<HomeMap::Homeless> blocks;
  Status status;
  runtime::Semaphore slots;
  runtime::TaskGroup group;
};

bool Homer::is_right(const HomeMap::Homeless& block) {
  return !block.place.bytes.empty() && crc32c(block.place.bytes.span()) == block.place.crc;
}

Task<void> Homer::fetch_run(Step* step, std::vector<std::size_t> run) {
  const runtime::Semaphore::Permit slot = co_await step->slots.acquire(1);
  if (!step->status.has_value()) co_return;
  Buffer bytes = Buffer::allocate(run.size() * kBlockBytes);
  const std::uint64_t first = step->blocks[run.front()].place.ring_block;
  Status read = co_await step->ring.read(first, bytes.span());
  if (!read.has_value()) {
    step->fail_with(std::move(read).error());
    co_return;
  }
  for (std::size_t i = 0; i < run.size(); ++i) {
    HomeMap::Homeless& block = step->blocks[run[i]];
    block.place.bytes = bytes.slice(i * kBlockBytes, kBlockBytes);
    if (is_right(block)) continue;
    // The place in the ring of a dead block may have been given to another batch already.
    block.place.bytes = Buffer();
    if (!step->homes.is_current(block)) continue;
    step->fail_with(
        Error(Code::kJournalFailed, fmt::format("{}: the checksum of its block {} is wrong",
                                                step->ring.name(), block.place.ring_block)));
  }
}

// Every block has its bytes afterwards, or is dead.
Task<Status> Homer::fetch(Step* step) {
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < step->blocks.size(); ++i) {
    // Memory that went bad does not get onto the disk: the ring has it, too.
    if (!is_right(step->blocks[i])) missing.push_back(i);
  }
  const auto place = [step](std::size_t i) { return step->blocks[i].place.ring_block; };
  std::sort(missing.begin(), missing.end(),
            [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
  for (std::vector<std::size_t>& run : runs_of(missing, place)) {
    step->group.spawn(fetch_run(step, std::move(run)));
  }
  co_await step->group.join();
  co_return step->status;
}

Task<void> Homer::write_run(Step* step, std::vector<std::size_t> run) {
  const runtime::Semaphore::Permit slot = co_await step->slots.acquire(1);
  if (!step->status.has_value()) co_return;
  std::vector<Bytes> parts;
  parts.reserve(run.size());
  for (const std::size_t i : run) {
    const Buffer& bytes = step->blocks[i].place.bytes;
    const bool joins = !parts.empty() && parts.back().data() + parts.back().size() == bytes.data();
    if (joins) {
      parts.back() = Bytes(parts.back().data(), parts.back().size() + bytes.size());
    } else {
      parts.push_back(bytes.span());
    }
  }
  const DiskOffset offset(step->blocks[run.front()].home * kBlockBytes);
  Status written = co_await step->data.write(offset, std::move(parts));
  FAULT_POINT("store.home.run");
  if (!written.has_value()) step->fail_with(std::move(written).error());
}

Task<Status> Homer::write_home(Step* step) {
  std::vector<std::size_t> wanted;
  for (std::size_t i = 0; i < step->blocks.size(); ++i) {
    const HomeMap::Homeless& block = step->blocks[i];
    if (!block.place.bytes.empty() && step->homes.is_current(block)) wanted.push_back(i);
  }
  const auto home = [step](std::size_t i) { return step->blocks[i].home; };
  for (std::vector<std::size_t>& run : runs_of(wanted, home)) {
    step->group.spawn(write_run(step, std::move(run)));
  }
  co_await step->group.join();
  co_return step->status;
}

Task<Result<std::uint64_t>> Homer::step(RingDevice* ring, std::size_t blocks_max) {
  Step step(runtime_, data_, *ring, homes_);
  step.blocks = homes_.take(blocks_max);
  if (step.blocks.empty()) co_return std::uint64_t{0};
  const ReuseGate::Ticket ticket = gate_.begin_read();
  Status status = co_await fetch(&step);
  FAULT_POINT("store.home.fetched");
  if (status.has_value()) status = co_await write_home(&step);
  FAULT_POINT("store.home.written");
  if (status.has_value()) homes_.written(step.blocks);
  gate_.end_read(ticket);
  if (!status.has_value()) co_return fail(std::move(status).error());
  co_return std::uint64_t{step.blocks.size()};
}

}  // namespace cairn::chunkserver::store
