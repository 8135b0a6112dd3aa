#include "chunkserver/store_duties.h"

#include "chunkserver/health/trouble.h"

namespace cairn::chunkserver {
namespace {

void put_store(const store::StoreStatistics& stored, pb::CsStatistics* into) {
  into->set_space_bytes(stored.space_bytes);
  into->set_free_bytes(stored.free_bytes);
  into->set_pieces(stored.pieces);
  into->set_used_bytes(stored.used_bytes);
  into->set_rmw(stored.rmw);
  into->set_jrmw(stored.jrmw);
  into->set_damaged_blocks(stored.damaged_blocks);
  into->set_healed_blocks(stored.healed_blocks);
  into->set_journal_bytes(stored.journal ? stored.journal_bytes : 0);
  into->set_journal_backlog_bytes(stored.journal_backlog_bytes);
  into->set_journal_place(stored.journal_directory);
}

void put_device(const io::DeviceFigures& disk, pb::CsStatistics* into) {
  into->set_flushes(disk.flushes);
  into->set_queue_depth(disk.queue_depth);
  into->set_io_latency_avg_us(disk.latency_avg_us);
  into->set_io_latency_max_us(disk.latency_max_us);
  into->set_io_wait(disk.io_wait);
  into->set_io_errors(disk.reads_failed + disk.writes_failed + disk.flushes_failed);
}

}  // namespace

std::optional<cluster::Failure> StoreDuties::failure() const {
  const std::optional<Error>& failure = parts_.store.failure();
  if (!failure.has_value()) return std::nullopt;
  return health::failure_of(*failure);
}

pb::CsStatistics StoreDuties::statistics() {
  const store::StoreStatistics stored = parts_.store.statistics();
  const data::ServiceFigures& served = parts_.service.figures();
  pb::CsStatistics statistics;
  put_store(stored, &statistics);
  put_device(parts_.device.figures(), &statistics);
  statistics.set_bytes_read(served.bytes_read);
  statistics.set_bytes_written(served.bytes_written);
  statistics.set_reads(served.reads);
  statistics.set_writes(served.writes);
  statistics.set_checksum_errors(stored.checksum_errors + served.damaged);
  if (parts_.ring_errors) {
    statistics.set_io_errors(statistics.io_errors() + parts_.ring_errors());
  }
  *statistics.mutable_scrub() = parts_.scrubber.progress();
  statistics.set_engine(parts_.device.engine());
  const std::optional<cluster::Failure> trouble = failure();
  statistics.set_flags(health::flags_of(
      {.journal = stored.journal,
       .checks = parts_.checks,
       .direct = parts_.device.direct(),
       .clean = stored.journal && stored.clean,
       .damaged = stored.damaged_blocks != 0,
       .drive_errors = stored.read_errors != 0,
       .trouble = trouble.has_value() ? std::optional(trouble->letter) : std::nullopt}));
  return statistics;
}

}  // namespace cairn::chunkserver
