#include "mds/replication/file_log_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "mds/replication/disk_files.h"
#include "mds/replication/log_state.h"
#include "mds/replication/segment_reader.h"

namespace cairn::mds::replication {

namespace {

constexpr std::size_t kReadsMax = 64;

Result<std::vector<Entry>> read_entries(const std::filesystem::path& directory,
                                        const std::vector<Location>& places) {
  TRY(std::vector<paxos::Accepted> records, read_records(directory, places));
  std::vector<Entry> entries;
  entries.reserve(records.size());
  for (paxos::Accepted& record : records) {
    entries.push_back(Entry{.slot = record.slot, .value = std::move(record.value)});
  }
  return entries;
}

bool has_old_magic(Bytes segment) {
  return segment.size() >= sizeof kOldRecordMagic &&
         load_le<std::uint32_t>(segment.data()) == kOldRecordMagic;
}

}  // namespace

FileLogStore::FileLogStore(runtime::Runtime& runtime, std::filesystem::path directory,
                           Options options)
    : runtime_(runtime), directory_(std::move(directory)), options_(options) {}

FileLogStore::~FileLogStore() = default;

Result<std::unique_ptr<FileLogStore>> FileLogStore::open(runtime::Runtime& runtime,
                                                         const std::filesystem::path& directory,
                                                         Options options) {
  // A place in a segment has 32 bits.
  CHECK_LE(options.segment_bytes, 1_GiB);
  std::error_code error;
  // It may be a symbolic link to a faster drive.
  std::filesystem::path real = std::filesystem::weakly_canonical(directory, error);
  if (error) {
    return fail(Code::kDiskFailed,
                fmt::format("cannot look at {}: {}", directory.string(), error.message()));
  }
  std::unique_ptr<FileLogStore> store(new FileLogStore(runtime, std::move(real), options));
  TRY_VOID(store->list_segments());
  TRY_VOID(store->load_segments());
  store->writing_ = std::make_unique<HelperThread>(runtime);
  store->reading_ = std::make_unique<HelperThread>(runtime);
  return store;
}

Status FileLogStore::list_segments() {
  std::error_code error;
  const bool created = std::filesystem::create_directories(directory_, error);
  if (error) {
    return fail(Code::kDiskFailed,
                fmt::format("cannot make {}: {}", directory_.string(), error.message()));
  }
  if (created) {
    TRY_VOID(disk::sync_directory(directory_.parent_path()));
  }
  std::filesystem::directory_iterator files(directory_, error);
  for (; !error && files != std::filesystem::directory_iterator(); files.increment(error)) {
    const Result<Lsn> first = parse_segment_name(files->path().filename().string());
    if (first.has_value()) {
      segments_.push_back(Segment{.first = *first, .bytes = 0, .highest = Slot()});
    }
  }
  if (error) {
    return fail(Code::kDiskFailed,
                fmt::format("cannot list {}: {}", directory_.string(), error.message()));
  }
  std::ranges::sort(segments_, {}, &Segment::first);
  // The process before us may have died between the creation of a segment and this.
  return disk::sync_directory(directory_);
}

Status FileLogStore::load_segments() {
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    TRY_VOID(load_segment(i));
  }
  recorded_floor_ = floor_;
  index_.drop_before(floor_);
  return {};
}

Status FileLogStore::load_segment(std::size_t index) {
  Segment& segment = segments_[index];
  const bool last = index + 1 == segments_.size();
  const std::filesystem::path path = directory_ / segment_name(segment.first);
  ByteCount file_bytes = 0;
  ScannedSegment scanned;
  {
    TRY(const Buffer file, read_segment(path));
    file_bytes = file.size();
    if (has_old_magic(file.span())) {
      return fail(Code::kUnsupported,
                  fmt::format("{} was written by a version of Cairn from before MDS replication, "
                              "which this version cannot read: copy the files out with that "
                              "version, then make a new cluster with this one",
                              path.string()));
    }
    const RecordVisitor visit = [this, &segment](const RecordView& view) {
      advance(&state_, view);
      if (view.kind == RecordKind::kFloor) floor_ = std::max(floor_, view.slot);
      const bool learned = view.kind == RecordKind::kLearn;
      if (learned || view.kind == RecordKind::kAccept) {
        index_slot(&segment, view.slot, view.offset, view.bytes, learned);
      }
      return Status();
    };
    Result<ScannedSegment> result = scan_segment(file.span(), segment.first, visit);
    if (!result.has_value()) {
      return fail(result.error().code(),
                  fmt::format("{}: {}", path.string(), result.error().message()));
    }
    scanned = *result;
  }
  segment.bytes = scanned.end;
  next_lsn_ = scanned.next;
  // The segments before the first one are removed only when that one has a durable batch.
  if (index == 0 && segment.first != Lsn(1) && scanned.end == 0) {
    return fail(Code::kCorrupt,
                fmt::format("{} has no record, and nothing lies before it", path.string()));
  }
  if (last) return open_last_segment(file_bytes, scanned.torn);
  // The next segment was begun when this one was durable: it cannot be torn.
  if (scanned.torn || scanned.next != segments_[index + 1].first) {
    return fail(Code::kCorrupt,
                fmt::format("{} ends before record {}, but the next segment begins with record {}",
                            path.string(), scanned.next.raw(), segments_[index + 1].first.raw()));
  }
  return {};
}

Status FileLogStore::open_last_segment(ByteCount file_bytes, bool torn) {
  const Segment& segment = segments_.back();
  const std::filesystem::path path = directory_ / segment_name(segment.first);
  if (torn) torn_bytes_ = file_bytes - segment.bytes;
  TRY(writer_, SegmentWriter::resume(path, segment.bytes, torn, options_.zero_ahead_bytes));
  return {};
}

// A learned value stays, and what was truncated does not come back: such an accept is stored as the
// promise that it contains. So no segment ever has a record that one of an older, removable segment
// must win over.
void FileLogStore::drop_lost_accepts(std::vector<LogRecord>* batch) const {
  std::set<Slot> learned;
  for (LogRecord& record : *batch) {
    if (const auto* learn = std::get_if<paxos::LearnRecord>(&record)) learned.insert(learn->slot);
    const auto* accept = std::get_if<paxos::AcceptRecord>(&record);
    if (accept == nullptr) continue;
    if (accept->slot < floor_ || learned.contains(accept->slot) || index_.learned(accept->slot)) {
      record = paxos::PromiseRecord{paxos::Ballot(accept->ballot)};
    }
  }
}

Task<Status> FileLogStore::append(std::vector<paxos::Record> records) {
  CHECK(!records.empty());
  CHECK(!appending_);
  appending_ = true;
  std::vector<LogRecord> batch = log_records(std::move(records));
  drop_lost_accepts(&batch);
  const bool new_segment = segments_.empty() || segments_.back().bytes >= options_.segment_bytes;
  if (new_segment || segments_.back().bytes == 0) {
    const std::vector<LogRecord> prologue = prologue_of(state_, floor_);
    batch.insert(batch.begin(), prologue.begin(), prologue.end());
  } else if (floor_ > recorded_floor_) {
    batch.insert(batch.begin(), FloorRecord{floor_});
  }
  const Slot floor = floor_;
  const Lsn first = next_lsn_;
  const Lsn segment = new_segment ? first : segments_.back().first;
  const std::uint64_t offset = new_segment ? 0 : segments_.back().bytes;
  std::string bytes;
  encode_batch(batch, segment, offset, first, &bytes);
  const ByteCount added = bytes.size();
  CHECK_LE(offset + added, ByteCount{std::numeric_limits<std::uint32_t>::max()});
  std::move_only_function<Status()> work = [this, new_segment, first, moved = std::move(bytes)] {
    return write(moved, new_segment, first);
  };
  Status status = co_await writing_->run<Status>(std::move(work));
  appending_ = false;
  if (!status.has_value()) co_return status;
  ++flushes_;
  recorded_floor_ = floor;
  if (new_segment) segments_.push_back(Segment{.first = segment, .bytes = 0, .highest = Slot()});
  indexed(batch, offset);
  segments_.back().bytes = offset + added;
  next_lsn_ = Lsn(first.raw() + batch.size());
  co_return status;
}

void FileLogStore::indexed(const std::vector<LogRecord>& batch, std::uint64_t offset) {
  for (const LogRecord& record : batch) {
    advance(&state_, record);
    const std::size_t bytes = record_bytes(record);
    if (const auto* accept = std::get_if<paxos::AcceptRecord>(&record)) {
      index_slot(&segments_.back(), accept->slot, offset, bytes, false);
    } else if (const auto* learn = std::get_if<paxos::LearnRecord>(&record)) {
      index_slot(&segments_.back(), learn->slot, offset, bytes, true);
    }
    offset += bytes;
  }
}

void FileLogStore::index_slot(Segment* segment, Slot slot, std::uint64_t offset, std::size_t bytes,
                              bool learned) {
  segment->highest = std::max(segment->highest, slot);
  last_slot_ = std::max(last_slot_, slot);
  if (slot < floor_) return;
  index_.put(Location{.slot = slot,
                      .segment = segment->first,
                      .offset = static_cast<std::uint32_t>(offset),
                      .bytes = static_cast<std::uint32_t>(bytes) & 0x7fffffffU,
                      .learned = learned ? 1U : 0U});
}

Result<std::vector<paxos::Accepted>> FileLogStore::accepted_after(Slot after) const {
  return read_records(directory_, index_.after(after));
}

Task<Result<std::vector<Entry>>> FileLogStore::read(Slot from, std::size_t slots_max,
                                                    ByteCount bytes_max) {
  std::vector<Location> places = index_.run(from, slots_max, bytes_max);
  if (places.empty()) {
    co_return fail(Code::kNotFound, fmt::format("the log does not have slot {}", from.raw()));
  }
  if (reads_ >= kReadsMax) co_return fail(Code::kOverloaded, "too many reads of the log");
  ++reads_;
  std::move_only_function<Result<std::vector<Entry>>()> work = [this, moved = std::move(places)] {
    return read_entries(directory_, moved);
  };
  Result<std::vector<Entry>> entries =
      co_await reading_->run<Result<std::vector<Entry>>>(std::move(work));
  --reads_;
  co_return entries;
}

Task<Status> FileLogStore::truncate_before(Slot slot) {
  floor_ = std::max(floor_, slot);
  index_.drop_before(floor_);
  std::vector<std::filesystem::path> paths;
  // The segment after one that goes has a durable batch, and with it the state.
  while (segments_.size() > 1 && segments_[1].bytes > 0 && segments_.front().highest < slot) {
    paths.push_back(directory_ / segment_name(segments_.front().first));
    segments_.pop_front();
  }
  if (paths.empty()) co_return Status();
  std::move_only_function<Status()> work = [this, moved = std::move(paths)] {
    return remove(moved);
  };
  Status status = co_await writing_->run<Status>(std::move(work));
  co_return status;
}

ByteCount FileLogStore::size_bytes() const {
  ByteCount bytes = 0;
  for (const Segment& segment : segments_) bytes += segment.bytes;
  return bytes;
}

Status FileLogStore::write(const std::string& bytes, bool new_segment, Lsn first) {
  if (fenced_) return fail(Code::kDiskFailed, "the log is fenced after a disk error");
  fenced_ = true;
  if (new_segment) {
    const std::filesystem::path path = directory_ / segment_name(first);
    TRY(writer_, SegmentWriter::create(path, options_.zero_ahead_bytes));
    TRY_VOID(disk::sync_directory(directory_));
  }
  TRY_VOID(writer_.append(bytes));
  fenced_ = false;
  return {};
}

Status FileLogStore::remove(const std::vector<std::filesystem::path>& paths) {
  if (fenced_) return fail(Code::kDiskFailed, "the log is fenced after a disk error");
  fenced_ = true;
  // Oldest first, so that a crash in between leaves no gap.
  for (const std::filesystem::path& path : paths) {
    TRY_VOID(disk::remove_file(path));
  }
  fenced_ = false;
  return {};
}

Result<std::filesystem::path> set_aside(const std::filesystem::path& directory) {
  std::error_code error;
  const std::filesystem::path from = std::filesystem::absolute(directory, error);
  if (error) return fail(Code::kDiskFailed, error.message());
  for (unsigned n = 1;; ++n) {
    std::filesystem::path target = from;
    target += fmt::format(".damaged-{}", n);
    if (disk::exists(target)) continue;
    TRY_VOID(disk::rename(from, target));
    return target;
  }
}

}  // namespace cairn::mds::replication
