#include "mds/replication/segment_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <span>
#include <utility>

#include "mds/replication/segment_writer.h"

namespace cairn::mds::replication {

namespace {

constexpr ByteCount kReadBytesMax = 4_MiB;  // of one pread, unless one record is larger
constexpr ByteCount kReadGapMax = 64_KiB;   // read over, rather than read twice

class ReadFile {
 public:
  ReadFile() = default;
  ReadFile(const ReadFile&) = delete;
  ReadFile& operator=(const ReadFile&) = delete;
  ~ReadFile() { close(); }

  Status open(const std::filesystem::path& path) {
    close();
    path_ = path;
    fd_ = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd_ < 0 && errno == EINVAL) fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ >= 0) return {};
    if (errno == ENOENT) return fail(Code::kNotFound, "the log segment was removed");
    return log_disk_error("open", path);
  }
  // At least the bytes from `begin` to `end`; the buffer begins at align_down(begin).
  Result<Buffer> read(std::uint64_t begin, std::uint64_t end) const {
    const std::uint64_t first = align_down(begin, kBlockBytes);
    Buffer buffer = Buffer::allocate(align_up(end, kBlockBytes) - first);
    std::size_t have = 0;
    while (first + have < end) {
      const ssize_t got = ::pread(fd_, buffer.data() + have, buffer.size() - have,
                                  static_cast<off_t>(first + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return log_disk_error("read", path_);
      // Only the end of the file lies within a block.
      const bool ended = got % static_cast<ssize_t>(kBlockBytes) != 0 &&
                         first + have + static_cast<std::uint64_t>(got) < end;
      if (got == 0 || ended) {
        return fail(Code::kCorrupt, fmt::format("{} is shorter than it was", path_.string()));
      }
      have += static_cast<std::size_t>(got);
    }
    return buffer.slice(0, have);
  }

 private:
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int fd_ = -1;
  std::filesystem::path path_;
};

// How many places from the first one on are read by one pread.
std::size_t run_length(std::span<const Location> places) {
  const std::uint64_t begin = places.front().offset;
  std::uint64_t end = begin + places.front().bytes;
  std::size_t count = 1;
  while (count < places.size()) {
    const Location& next = places[count];
    const std::uint64_t next_end = std::uint64_t{next.offset} + next.bytes;
    if (next.segment != places.front().segment || next.offset < end ||
        next.offset > end + kReadGapMax || next_end - begin > kReadBytesMax) {
      break;
    }
    end = next_end;
    ++count;
  }
  return count;
}

Result<paxos::Accepted> decode_at(Bytes bytes, const Location& place) {
  TRY(const RecordView view, decode_record(bytes, place.segment, place.offset));
  const RecordKind kind = place.learned ? RecordKind::kLearn : RecordKind::kAccept;
  if (view.kind != kind || view.slot != place.slot || view.bytes != place.bytes) {
    return fail(Code::kCorrupt, fmt::format("log record {} is not the one of slot {}",
                                            view.lsn.raw(), place.slot.raw()));
  }
  // The ballot of a view that is no accept record is invalid, as it should be for a learned value.
  return paxos::Accepted{.slot = view.slot, .ballot = view.ballot, .value = value_of(view)};
}

}  // namespace

Result<Buffer> read_segment(const std::filesystem::path& path) {
  std::error_code error;
  const ByteCount size = std::filesystem::file_size(path, error);
  if (error) {
    return fail(Code::kDiskFailed,
                fmt::format("cannot look at {}: {}", path.string(), error.message()));
  }
  if (size > std::numeric_limits<std::uint32_t>::max()) {
    return fail(Code::kCorrupt, fmt::format("{} is larger than any segment", path.string()));
  }
  if (size == 0) return Buffer();
  ReadFile file;
  TRY_VOID(file.open(path));
  return file.read(0, size);
}

Result<std::vector<paxos::Accepted>> read_records(const std::filesystem::path& directory,
                                                  const std::vector<Location>& places) {
  std::vector<paxos::Accepted> records;
  records.reserve(places.size());
  ReadFile file;
  Lsn open_segment;
  std::span<const Location> left(places);
  while (!left.empty()) {
    const std::span<const Location> run = left.first(run_length(left));
    left = left.subspan(run.size());
    if (run.front().segment != open_segment) {
      TRY_VOID(file.open(directory / segment_name(run.front().segment)));
      open_segment = run.front().segment;
    }
    const std::uint64_t end = std::uint64_t{run.back().offset} + run.back().bytes;
    TRY(const Buffer buffer, file.read(run.front().offset, end));
    const std::uint64_t first = align_down(run.front().offset, kBlockBytes);
    for (const Location& place : run) {
      TRY(paxos::Accepted record, decode_at(buffer.span().subspan(place.offset - first), place));
      records.push_back(std::move(record));
    }
  }
  return records;
}

}  // namespace cairn::mds::replication
