#include "mds/replication/log_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::mds::replication {

namespace {

// Header fields, little-endian: magic, length, slot, batch (first slot of it), flags, crc. The crc
// is over the header before it and the payload.
constexpr std::size_t kMagicAt = 0;
constexpr std::size_t kLengthAt = 4;
constexpr std::size_t kSlotAt = 8;
constexpr std::size_t kBatchAt = 16;
constexpr std::size_t kFlagsAt = 24;
constexpr std::size_t kCrcAt = 28;
constexpr std::uint32_t kLastOfBatch = 1;

struct Record {
  Slot slot;
  Slot batch;
  bool last = false;
  std::string_view payload;
};

// nullopt when no whole, valid record begins at `at`.
std::optional<Record> read_record(Bytes segment, std::size_t at) {
  if (segment.size() - at < kRecordHeaderBytes) return std::nullopt;
  const std::byte* header = segment.data() + at;
  if (load_le<std::uint32_t>(header + kMagicAt) != kRecordMagic) return std::nullopt;
  const auto length = load_le<std::uint32_t>(header + kLengthAt);
  const std::size_t room = segment.size() - at - kRecordHeaderBytes;
  if (length > kRecordPayloadBytesMax || length > room) return std::nullopt;
  const auto flags = load_le<std::uint32_t>(header + kFlagsAt);
  if ((flags & ~kLastOfBatch) != 0) return std::nullopt;
  const Bytes payload = segment.subspan(at + kRecordHeaderBytes, length);
  const std::uint32_t crc = crc32c(payload, crc32c(segment.subspan(at, kCrcAt)));
  if (crc != load_le<std::uint32_t>(header + kCrcAt)) return std::nullopt;
  return Record{.slot = Slot(load_le<std::uint64_t>(header + kSlotAt)),
                .batch = Slot(load_le<std::uint64_t>(header + kBatchAt)),
                .last = (flags & kLastOfBatch) != 0,
                .payload = as_text(payload)};
}

bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Is there, at any byte from `at` on, a valid record of a batch that began after `batch`?
std::optional<Slot> later_batch(Bytes segment, std::size_t at, Slot batch) {
  const std::string_view text = as_text(segment);
  char magic[sizeof kRecordMagic];
  std::memcpy(magic, &kRecordMagic, sizeof magic);
  const std::string_view needle(magic, sizeof magic);
  for (std::size_t hit = text.find(needle, at); hit != std::string_view::npos;
       hit = text.find(needle, hit + 1)) {
    const std::optional<Record> record = read_record(segment, hit);
    if (record.has_value() && record->batch > batch) return record->slot;
  }
  return std::nullopt;
}

}  // namespace

void encode_batch(const std::vector<Entry>& batch, std::string* out) {
  CHECK(!batch.empty());
  const Slot first = batch.front().slot;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Entry& entry = batch[i];
    CHECK_EQ(entry.slot.raw(), first.raw() + i);
    CHECK_LE(entry.bytes.size(), std::size_t{kRecordPayloadBytesMax});
    std::byte header[kRecordHeaderBytes];
    store_le(header + kMagicAt, kRecordMagic);
    store_le(header + kLengthAt, static_cast<std::uint32_t>(entry.bytes.size()));
    store_le(header + kSlotAt, entry.slot.raw());
    store_le(header + kBatchAt, first.raw());
    store_le(header + kFlagsAt, i + 1 == batch.size() ? kLastOfBatch : std::uint32_t{0});
    const std::uint32_t crc = crc32c(as_bytes(entry.bytes), crc32c(Bytes(header, kCrcAt)));
    store_le(header + kCrcAt, crc);
    out->append(as_text(Bytes(header, kRecordHeaderBytes)));
    out->append(entry.bytes);
  }
}

Result<ScannedSegment> scan_segment(Bytes segment, Slot first, const EntryVisitor& visit) {
  ScannedSegment scanned{.end = 0, .next = first, .torn = false};
  std::vector<Record> batch;
  std::size_t at = 0;
  Slot expected = first;
  while (at < segment.size()) {
    const std::optional<Record> record = read_record(segment, at);
    const Slot batch_first = batch.empty() ? expected : batch.front().slot;
    if (!record.has_value() || record->slot != expected || record->batch != batch_first) break;
    batch.push_back(*record);
    at += kRecordHeaderBytes + record->payload.size();
    expected = expected.next();
    if (!record->last) continue;
    for (const Record& r : batch) {
      TRY_VOID(visit(r.slot, r.payload));
    }
    batch.clear();
    scanned.end = at;
    scanned.next = expected;
  }
  const Bytes rest = segment.subspan(scanned.end);
  if (all_zero(rest)) return scanned;
  // A valid record of this place with a wrong slot is no torn write either: later_batch() finds it.
  const std::optional<Slot> later = later_batch(segment, scanned.end, scanned.next);
  if (later.has_value()) {
    return fail(Code::kCorrupt,
                fmt::format("log record of slot {} at byte {} is damaged, but slot {} after it is "
                            "good: this is not a torn write",
                            expected.raw(), at, later->raw()));
  }
  scanned.torn = true;
  return scanned;
}

std::string segment_name(Slot first) { return fmt::format("{:016x}.log", first.raw()); }

Result<Slot> parse_segment_name(std::string_view name) {
  constexpr std::string_view kSuffix = ".log";
  if (name.size() != 16 + kSuffix.size() || !name.ends_with(kSuffix)) {
    return fail(Code::kInvalidArgument, "not the name of a log segment");
  }
  std::uint64_t slot = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 16, slot, 16);
  if (error != std::errc() || end != name.data() + 16) {
    return fail(Code::kInvalidArgument, "not the name of a log segment");
  }
  return Slot(slot);
}

}  // namespace cairn::mds::replication
