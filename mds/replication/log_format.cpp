#include "mds/replication/log_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::mds::replication {

namespace {

// Header fields, little-endian: magic, length, lsn, batch (first lsn of it), kind, flags, two zero
// bytes, crc. The crc is over (segment, offset), the header before it and the payload.
constexpr std::size_t kMagicAt = 0;
constexpr std::size_t kLengthAt = 4;
constexpr std::size_t kLsnAt = 8;
constexpr std::size_t kBatchAt = 16;
constexpr std::size_t kKindAt = 24;
constexpr std::size_t kFlagsAt = 25;
constexpr std::size_t kReservedAt = 26;
constexpr std::size_t kCrcAt = 28;
constexpr std::uint8_t kLastOfBatch = 1;

constexpr std::size_t kBallotBytes = 12;  // round, node
constexpr std::size_t kSlotBytes = 8;
constexpr std::size_t kPromiseBytes = kBallotBytes;
constexpr std::size_t kAcceptBytes = kBallotBytes + kSlotBytes + 1;  // and the value
constexpr std::size_t kLearnBytes = kSlotBytes + 1;                  // and the value
constexpr std::size_t kChosenBytes = kSlotBytes;
constexpr std::size_t kRecoveryBytes = kSlotBytes + 1;

// A record whose CRC is right; what it says was not looked at.
struct Frame {
  Lsn lsn;
  Lsn batch;
  std::uint8_t kind = 0;
  std::uint8_t flags = 0;
  std::uint16_t reserved = 0;
  Bytes payload;
  std::uint64_t offset = 0;
  bool last() const { return (flags & kLastOfBatch) != 0; }
};

std::uint32_t place_crc(Lsn segment, std::uint64_t offset) {
  std::byte place[16];
  store_le(place, segment.raw());
  store_le(place + 8, offset);
  return crc32c(Bytes(place, sizeof place));
}

// nullopt when no whole, valid record begins at the beginning of `bytes`.
std::optional<Frame> read_frame(Bytes bytes, Lsn segment, std::uint64_t offset) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  const std::byte* header = bytes.data();
  if (load_le<std::uint32_t>(header + kMagicAt) != kRecordMagic) return std::nullopt;
  const auto length = load_le<std::uint32_t>(header + kLengthAt);
  if (length > kRecordPayloadBytesMax || length > bytes.size() - kRecordHeaderBytes) {
    return std::nullopt;
  }
  const Bytes payload = bytes.subspan(kRecordHeaderBytes, length);
  const std::uint32_t head_crc = crc32c(bytes.first(kCrcAt), place_crc(segment, offset));
  if (crc32c(payload, head_crc) != load_le<std::uint32_t>(header + kCrcAt)) return std::nullopt;
  return Frame{.lsn = Lsn(load_le<std::uint64_t>(header + kLsnAt)),
               .batch = Lsn(load_le<std::uint64_t>(header + kBatchAt)),
               .kind = load_le<std::uint8_t>(header + kKindAt),
               .flags = load_le<std::uint8_t>(header + kFlagsAt),
               .reserved = load_le<std::uint16_t>(header + kReservedAt),
               .payload = payload,
               .offset = offset};
}

paxos::Ballot load_ballot(const std::byte* at) {
  return {.round = load_le<std::uint64_t>(at),
          .node = NodeId::from_raw(load_le<std::uint32_t>(at + 8))};
}

Slot load_slot(const std::byte* at) { return Slot(load_le<std::uint64_t>(at)); }

// Slot, value kind, value: the end of accept and learn records.
bool load_value(Bytes bytes, RecordView* view) {
  view->slot = load_slot(bytes.data());
  const auto kind = load_le<std::uint8_t>(bytes.data() + kSlotBytes);
  view->value = as_text(bytes.subspan(kSlotBytes + 1));
  if (kind < static_cast<std::uint8_t>(paxos::ValueKind::kNoop) ||
      kind > static_cast<std::uint8_t>(paxos::ValueKind::kMembership)) {
    return false;
  }
  view->value_kind = static_cast<paxos::ValueKind>(kind);
  if (view->value_kind == paxos::ValueKind::kNoop && !view->value.empty()) return false;
  return view->slot != Slot();
}

bool load_recovery(Bytes payload, RecordView* view) {
  view->slot = load_slot(payload.data());
  const auto active = load_le<std::uint8_t>(payload.data() + kSlotBytes);
  view->active = active == 1;
  return active <= 1;
}

// False: the fields cannot be.
bool load_fields(Bytes payload, RecordView* view) {
  switch (view->kind) {
    case RecordKind::kPromise:
      if (payload.size() != kPromiseBytes) return false;
      view->ballot = load_ballot(payload.data());
      return view->ballot.valid();
    case RecordKind::kAccept:
      if (payload.size() < kAcceptBytes) return false;
      view->ballot = load_ballot(payload.data());
      return view->ballot.valid() && load_value(payload.subspan(kBallotBytes), view);
    case RecordKind::kLearn:
      return payload.size() >= kLearnBytes && load_value(payload, view);
    case RecordKind::kChosen:
    case RecordKind::kFloor:
      if (payload.size() != kChosenBytes) return false;
      view->slot = load_slot(payload.data());
      return true;
    case RecordKind::kRecovery:
      return payload.size() == kRecoveryBytes && load_recovery(payload, view);
  }
  return false;
}

Result<RecordView> view_of(const Frame& frame) {
  if (frame.kind < static_cast<std::uint8_t>(RecordKind::kPromise) ||
      frame.kind > static_cast<std::uint8_t>(RecordKind::kFloor) ||
      (frame.flags & ~kLastOfBatch) != 0 || frame.reserved != 0) {
    return fail(Code::kUnsupported,
                fmt::format("log record {} has kind {} and flags {}: it was written by a newer "
                            "version of Cairn",
                            frame.lsn.raw(), frame.kind, frame.flags));
  }
  RecordView view;
  view.lsn = frame.lsn;
  view.offset = frame.offset;
  view.bytes = static_cast<std::uint32_t>(kRecordHeaderBytes + frame.payload.size());
  view.kind = static_cast<RecordKind>(frame.kind);
  if (!load_fields(frame.payload, &view)) {
    return fail(Code::kCorrupt, fmt::format("log record {} of kind {} has impossible fields",
                                            frame.lsn.raw(), frame.kind));
  }
  return view;
}

bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Is there, at any byte from `at` on, a valid record of a batch that began after `batch`?
std::optional<Lsn> later_batch(Bytes bytes, Lsn segment, std::uint64_t at, Lsn batch) {
  const std::string_view text = as_text(bytes);
  char magic[sizeof kRecordMagic];
  std::memcpy(magic, &kRecordMagic, sizeof magic);
  const std::string_view needle(magic, sizeof magic);
  for (std::size_t hit = text.find(needle, at); hit != std::string_view::npos;
       hit = text.find(needle, hit + 1)) {
    const std::optional<Frame> frame = read_frame(bytes.subspan(hit), segment, hit);
    if (frame.has_value() && frame->batch > batch) return frame->lsn;
  }
  return std::nullopt;
}

void put_ballot(const paxos::Ballot& ballot, std::string* out) {
  std::byte bytes[kBallotBytes];
  store_le(bytes, ballot.round);
  store_le(bytes + 8, ballot.node.raw());
  out->append(as_text(bytes));
}

void put_slot(Slot slot, std::string* out) {
  std::byte bytes[kSlotBytes];
  store_le(bytes, slot.raw());
  out->append(as_text(bytes));
}

void put_value(const paxos::Value& value, std::string* out) {
  out->push_back(static_cast<char>(value.kind));
  out->append(*value.bytes);
}

// Appends the payload of a record; says its kind.
struct PutPayload {
  std::string* out;
  RecordKind operator()(const paxos::PromiseRecord& r) const {
    put_ballot(r.ballot, out);
    return RecordKind::kPromise;
  }
  RecordKind operator()(const paxos::AcceptRecord& r) const {
    put_ballot(r.ballot, out);
    put_slot(r.slot, out);
    put_value(r.value, out);
    return RecordKind::kAccept;
  }
  RecordKind operator()(const paxos::LearnRecord& r) const {
    put_slot(r.slot, out);
    put_value(r.value, out);
    return RecordKind::kLearn;
  }
  RecordKind operator()(const paxos::ChosenRecord& r) const {
    put_slot(r.slot, out);
    return RecordKind::kChosen;
  }
  RecordKind operator()(const paxos::RecoveryRecord& r) const {
    put_slot(r.until, out);
    out->push_back(r.active ? '\1' : '\0');
    return RecordKind::kRecovery;
  }
  RecordKind operator()(const FloorRecord& r) const {
    put_slot(r.slot, out);
    return RecordKind::kFloor;
  }
};

struct PayloadBytes {
  std::size_t operator()(const paxos::PromiseRecord&) const { return kPromiseBytes; }
  std::size_t operator()(const paxos::AcceptRecord& r) const {
    return kAcceptBytes + r.value.bytes->size();
  }
  std::size_t operator()(const paxos::LearnRecord& r) const {
    return kLearnBytes + r.value.bytes->size();
  }
  std::size_t operator()(const paxos::ChosenRecord&) const { return kChosenBytes; }
  std::size_t operator()(const paxos::RecoveryRecord&) const { return kRecoveryBytes; }
  std::size_t operator()(const FloorRecord&) const { return kSlotBytes; }
};

}  // namespace

std::vector<LogRecord> log_records(std::vector<paxos::Record> records) {
  std::vector<LogRecord> all;
  all.reserve(records.size() + 4);  // a prologue may come in front
  for (paxos::Record& record : records) {
    std::visit([&all](auto&& r) { all.emplace_back(std::move(r)); }, std::move(record));
  }
  return all;
}

paxos::Value value_of(const RecordView& view) {
  return {.kind = view.value_kind, .bytes = std::make_shared<const std::string>(view.value)};
}

std::size_t record_bytes(const LogRecord& record) {
  return kRecordHeaderBytes + std::visit(PayloadBytes(), record);
}

void encode_batch(const std::vector<LogRecord>& batch, Lsn segment, std::uint64_t offset, Lsn first,
                  std::string* out) {
  CHECK(!batch.empty());
  Lsn lsn = first;
  for (const LogRecord& record : batch) {
    const std::size_t at = out->size();
    out->append(kRecordHeaderBytes, '\0');
    const RecordKind kind = std::visit(PutPayload{out}, record);
    const std::size_t length = out->size() - at - kRecordHeaderBytes;
    CHECK_LE(length, std::size_t{kRecordPayloadBytesMax});
    std::byte header[kRecordHeaderBytes] = {};
    store_le(header + kMagicAt, kRecordMagic);
    store_le(header + kLengthAt, static_cast<std::uint32_t>(length));
    store_le(header + kLsnAt, lsn.raw());
    store_le(header + kBatchAt, first.raw());
    store_le(header + kKindAt, static_cast<std::uint8_t>(kind));
    store_le(header + kFlagsAt, &record == &batch.back() ? kLastOfBatch : std::uint8_t{0});
    const std::uint32_t head_crc = crc32c(Bytes(header, kCrcAt), place_crc(segment, offset));
    const std::string_view payload = std::string_view(*out).substr(at + kRecordHeaderBytes);
    store_le(header + kCrcAt, crc32c(as_bytes(payload), head_crc));
    std::memcpy(out->data() + at, header, sizeof header);
    offset += kRecordHeaderBytes + length;
    lsn = lsn.next();
  }
}

Result<RecordView> decode_record(Bytes bytes, Lsn segment, std::uint64_t offset) {
  const std::optional<Frame> frame = read_frame(bytes, segment, offset);
  if (!frame.has_value()) {
    return fail(Code::kCorrupt, fmt::format("the log record at byte {} of segment {} is damaged",
                                            offset, segment_name(segment)));
  }
  return view_of(*frame);
}

Result<ScannedSegment> scan_segment(Bytes bytes, Lsn segment, const RecordVisitor& visit) {
  ScannedSegment scanned{.end = 0, .next = segment, .torn = false};
  std::vector<RecordView> batch;
  std::size_t at = 0;
  Lsn expected = segment;
  while (at < bytes.size()) {
    const std::optional<Frame> frame = read_frame(bytes.subspan(at), segment, at);
    if (!frame.has_value()) break;
    if (frame->lsn != expected || frame->batch != scanned.next) {
      return fail(Code::kCorrupt,
                  fmt::format("log record {} of batch {} lies at byte {}, where record {} of batch "
                              "{} belongs",
                              frame->lsn.raw(), frame->batch.raw(), at, expected.raw(),
                              scanned.next.raw()));
    }
    TRY(const RecordView view, view_of(*frame));
    batch.push_back(view);
    at += view.bytes;
    expected = expected.next();
    if (!frame->last()) continue;
    for (const RecordView& v : batch) {
      TRY_VOID(visit(v));
    }
    batch.clear();
    scanned.end = at;
    scanned.next = expected;
  }
  if (all_zero(bytes.subspan(scanned.end))) return scanned;
  const std::optional<Lsn> later = later_batch(bytes, segment, scanned.end, scanned.next);
  if (later.has_value()) {
    return fail(Code::kCorrupt,
                fmt::format("log record {} at byte {} is damaged, but record {} after it is good: "
                            "this is not a torn write",
                            expected.raw(), at, later->raw()));
  }
  scanned.torn = true;
  return scanned;
}

std::string segment_name(Lsn first) { return fmt::format("{:016x}.log", first.raw()); }

Result<Lsn> parse_segment_name(std::string_view name) {
  constexpr std::string_view kSuffix = ".log";
  if (name.size() != 16 + kSuffix.size() || !name.ends_with(kSuffix)) {
    return fail(Code::kInvalidArgument, "not the name of a log segment");
  }
  std::uint64_t lsn = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 16, lsn, 16);
  // Only the very name that segment_name() gives: no upper case.
  if (error != std::errc() || end != name.data() + 16 || segment_name(Lsn(lsn)) != name) {
    return fail(Code::kInvalidArgument, "not the name of a log segment");
  }
  return Lsn(lsn);
}

}  // namespace cairn::mds::replication
