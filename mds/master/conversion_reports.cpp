// What people are told of conversions: stat, info, events.
#include "common/erasure/encoding.h"
#include "mds/master/conversions.h"

namespace cairn::mds::master {

namespace {

std::string text_of(const pb::Encoding& encoding) {
  const Result<erasure::Encoding> made =
      erasure::Encoding::make(encoding.data(), encoding.parity(), encoding.min());
  return made.has_value() ? made->to_attribute() : std::string("an unknown encoding");
}

}  // namespace

void Conversions::tell_failures(Instant now) {
  if (now >= minute_ends_) {
    if (untold_ != 0) {
      parts_.events.write(
          "MDS", observe::Severity::kWarning,
          fmt::format("{} more files cannot be converted: see cairn stat", untold_));
    }
    minute_ends_ = now + 1min;
    told_in_minute_ = 0;
    untold_ = 0;
  }
  for (const ConversionBoard::Told& one : board_.take_untold()) {
    if (told_in_minute_ >= kEventsPerMinute) {
      ++untold_;
      continue;
    }
    ++told_in_minute_;
    parts_.events.write("MDS", observe::Severity::kWarning,
                        fmt::format("file {} (inode) cannot be converted to {}: {}; it is tried "
                                    "again",
                                    one.inode.raw(), text_of(one.to), one.why));
  }
}

void Conversions::tell_end() {
  const std::optional<ConversionBoard::Burst> burst = board_.take_ended_burst();
  if (!burst.has_value()) return;
  parts_.events.write("MDS", observe::Severity::kInfo,
                      fmt::format("{} {} with {:.1f} MiB converted: none waits any more",
                                  burst->files, burst->files == 1 ? "file" : "files",
                                  static_cast<double>(burst->bytes) / 1048576.0));
}

pb::ConversionStat::File Conversions::shown(const Job& job) const {
  pb::ConversionStat::File file;
  file.set_inode(job.row.inode.raw());
  *file.mutable_to() = job.row.to;
  file.set_bytes_done(job.bytes_done);
  file.set_bytes_total(job.bytes_total);
  file.set_worker(fmt::format("CS#{}", job.cs));
  const auto trouble = board_.troubles().find(job.row.inode);
  if (trouble != board_.troubles().end()) file.set_trouble(trouble->second.why);
  return file;
}

pb::ConversionStat::File Conversions::shown(const ConversionBoard::Trouble& trouble) const {
  pb::ConversionStat::File file;
  file.set_inode(trouble.row.inode.raw());
  *file.mutable_to() = trouble.row.to;
  const Duration left = trouble.not_before - env_.runtime.now();
  file.set_trouble(left > Duration(0)
                       ? fmt::format("{} (tried again in {} s)", trouble.why, (left + 999ms) / 1s)
                       : trouble.why);
  return file;
}

Result<pb::ConversionStat> Conversions::stat() const {
  TRY(const std::uint64_t most, workers());
  const ConversionBoard::Totals totals = board_.totals(env_.runtime.now());
  pb::ConversionStat stat;
  stat.set_waiting(totals.waiting);
  stat.set_under_way(totals.under_way);
  stat.set_converted(totals.converted);
  stat.set_bytes_converted(totals.bytes_converted);
  stat.set_bytes_per_second(totals.bytes_per_second);
  stat.set_paused(most == 0);
  for (const auto& [session, job] : board_.jobs()) {
    if (!job.swapped && stat.files_size() < kFilesShown) *stat.add_files() = shown(job);
  }
  for (const auto& [inode, trouble] : board_.troubles()) {
    if (stat.files_size() >= kFilesShown) break;
    if (!board_.busy(inode)) *stat.add_files() = shown(trouble);
  }
  return stat;
}

Result<std::optional<pb::ConversionStat::File>> Conversions::of(InodeId inode) const {
  using File = std::optional<pb::ConversionStat::File>;
  TRY(const std::optional<Row> row, row_of(inode));
  if (!row.has_value()) return File();
  for (const auto& [session, job] : board_.jobs()) {
    if (job.row.inode == inode) return File(shown(job));
  }
  const auto trouble = board_.troubles().find(inode);
  if (trouble != board_.troubles().end()) return File(shown(trouble->second));
  pb::ConversionStat::File file;
  file.set_inode(inode.raw());
  *file.mutable_to() = row->to;
  return File(std::move(file));
}

}  // namespace cairn::mds::master
