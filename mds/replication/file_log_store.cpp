#include "mds/replication/file_log_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cairn::mds::replication {

namespace {

Status sync_directory(const std::filesystem::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return log_disk_error("open", directory);
  const int result = ::fsync(fd);
  Status status = result == 0 ? Status() : Status(log_disk_error("flush", directory));
  ::close(fd);
  return status;
}

// A whole segment, mapped for reading.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return log_disk_error("open", path);
    struct stat facts {};
    if (::fstat(fd, &facts) != 0) {
      ::close(fd);
      return log_disk_error("look at", path);
    }
    MappedFile file;
    file.size_ = static_cast<std::size_t>(facts.st_size);
    if (file.size_ != 0) {
      void* at = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd, 0);
      if (at == MAP_FAILED) {
        ::close(fd);
        return log_disk_error("read", path);
      }
      file.begin_ = static_cast<const std::byte*>(at);
    }
    ::close(fd);
    return file;
  }
  MappedFile(MappedFile&& o) noexcept
      : begin_(std::exchange(o.begin_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (begin_ != nullptr) ::munmap(const_cast<std::byte*>(begin_), size_);
  }
  Bytes bytes() const { return {begin_, size_}; }

 private:
  MappedFile() = default;
  const std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace

FileLogStore::FileLogStore(runtime::Runtime& runtime, std::filesystem::path directory,
                           Options options)
    : runtime_(runtime), directory_(std::move(directory)), options_(options) {}

Result<std::unique_ptr<FileLogStore>> FileLogStore::open(runtime::Runtime& runtime,
                                                         const std::filesystem::path& directory,
                                                         Options options) {
  std::unique_ptr<FileLogStore> store(new FileLogStore(runtime, directory, options));
  TRY_VOID(store->open_segments());
  if (!store->segments_.empty()) {
    TRY_VOID(store->open_last_segment());
  }
  store->thread_ = std::thread([raw = store.get()] { raw->run_thread(); });
  return store;
}

FileLogStore::~FileLogStore() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Status FileLogStore::open_segments() {
  std::error_code error;
  const bool created = std::filesystem::create_directories(directory_, error);
  if (error) {
    return fail(Code::kDiskFailed,
                fmt::format("cannot make {}: {}", directory_.string(), error.message()));
  }
  if (created) {
    TRY_VOID(sync_directory(directory_.parent_path()));
  }
  std::filesystem::directory_iterator files(directory_, error);
  for (; !error && files != std::filesystem::directory_iterator(); files.increment(error)) {
    const Result<Slot> first = parse_segment_name(files->path().filename().string());
    if (first.has_value()) segments_.push_back(*first);
  }
  if (error) {
    return fail(Code::kDiskFailed,
                fmt::format("cannot list {}: {}", directory_.string(), error.message()));
  }
  std::sort(segments_.begin(), segments_.end());
  return {};
}

Status FileLogStore::open_last_segment() {
  const Slot first = segments_.back();
  const std::filesystem::path path = directory_ / segment_name(first);
  ByteCount file_bytes = 0;
  ScannedSegment scanned;
  {
    TRY(const MappedFile file, MappedFile::open(path));
    file_bytes = file.bytes().size();
    const EntryVisitor nothing = [](Slot, std::string_view) { return Status(); };
    TRY(scanned, scan_segment(file.bytes(), first, nothing));
  }
  if (scanned.torn) torn_bytes_ = file_bytes - scanned.end;
  TRY(writer_, SegmentWriter::resume(path, scanned.end, scanned.torn, options_.zero_ahead_bytes));
  last_segment_bytes_ = scanned.end;
  last_slot_ = scanned.next.prev();
  return {};
}

Task<Status> FileLogStore::append(std::vector<Entry> batch) {
  CHECK(!batch.empty());
  CHECK_EQ(batch.front().slot.raw(), last_slot_.raw() + 1);
  CHECK(!appending_);
  appending_ = true;
  const Slot last = batch.back().slot;
  Job job{.bytes = {},
          .rotate = false,
          .first = batch.front().slot,
          .remove = {},
          .done = runtime::Completion<Status>(runtime_)};
  encode_batch(batch, &job.bytes);
  job.rotate = segments_.empty() || last_segment_bytes_ >= options_.segment_bytes;
  const Slot first = job.first;
  const bool rotate = job.rotate;
  const ByteCount bytes = job.bytes.size();
  Status status = co_await submit(std::move(job));
  appending_ = false;
  if (!status.has_value()) co_return status;
  if (rotate) {
    segments_.push_back(first);
    last_segment_bytes_ = 0;
  }
  last_segment_bytes_ += bytes;
  last_slot_ = last;
  co_return status;
}

Task<Status> FileLogStore::submit(Job job) {
  runtime::Completion<Status> done = job.done;
  {
    const std::lock_guard guard(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
  Status status = co_await done.wait();
  co_return status;
}

Status FileLogStore::read_from(Slot from, const EntryVisitor& visit) const {
  if (segments_.empty()) return {};
  if (from < segments_.front()) {
    return fail(Code::kCorrupt, fmt::format("the log begins with slot {}, but slot {} is needed",
                                            segments_.front().raw(), from.raw()));
  }
  const EntryVisitor wanted = [from, &visit](Slot slot, std::string_view bytes) {
    return slot < from ? Status() : visit(slot, bytes);
  };
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const bool last = i + 1 == segments_.size();
    if (!last && segments_[i + 1] <= from) continue;
    const std::filesystem::path path = directory_ / segment_name(segments_[i]);
    TRY(const MappedFile file, MappedFile::open(path));
    TRY(const ScannedSegment scanned, scan_segment(file.bytes(), segments_[i], wanted));
    if (last) break;
    // The next segment was begun when this one was durable: it cannot be torn.
    if (scanned.torn || scanned.next != segments_[i + 1]) {
      return fail(Code::kCorrupt,
                  fmt::format("{} ends before slot {}, but the next segment begins with slot {}",
                              path.string(), scanned.next.raw(), segments_[i + 1].raw()));
    }
  }
  return {};
}

Task<Status> FileLogStore::truncate_before(Slot slot) {
  Job job{.bytes = {},
          .rotate = false,
          .first = Slot(),
          .remove = {},
          .done = runtime::Completion<Status>(runtime_)};
  std::size_t cut = 0;
  while (cut + 1 < segments_.size() && segments_[cut + 1] <= slot) {
    job.remove.push_back(directory_ / segment_name(segments_[cut]));
    ++cut;
  }
  if (cut == 0) co_return Status();
  segments_.erase(segments_.begin(), segments_.begin() + static_cast<std::ptrdiff_t>(cut));
  Status status = co_await submit(std::move(job));
  co_return status;
}

ByteCount FileLogStore::size_bytes() const {
  if (segments_.empty()) return 0;
  return (segments_.size() - 1) * options_.segment_bytes + last_segment_bytes_;
}

void FileLogStore::run_thread() {
  for (;;) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    Status status = fenced_
                        ? Status(fail(Code::kDiskFailed, "the log is fenced after a disk error"))
                        : execute(job);
    if (!status.has_value()) fenced_ = true;
    job.done.set_from_any_thread(std::move(status));
  }
}

Status FileLogStore::execute(const Job& job) {
  // Oldest first, so that a crash in between leaves no gap.
  for (const std::filesystem::path& path : job.remove) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return log_disk_error("remove", path);
  }
  if (!job.remove.empty()) return sync_directory(directory_);
  if (job.rotate) {
    TRY_VOID(create_segment(job.first));
  }
  return writer_.append(job.bytes);
}

Status FileLogStore::create_segment(Slot first) {
  const std::filesystem::path path = directory_ / segment_name(first);
  // An empty segment of this name may be left from a crash right after its creation.
  TRY(writer_, SegmentWriter::create(path, options_.zero_ahead_bytes));
  return sync_directory(directory_);
}

}  // namespace cairn::mds::replication
