// Log format: the bytes of a log segment. Pure: no file, no clock. docs/formats/mds-log.md.
//
// A segment is a run of records in the order of their numbers (Lsn), then zeros or the end of the
// file. Records of one append form a batch; every record names the first Lsn of its batch, the last
// one is marked. The CRC of a record also covers where it lies (segment and offset), so that
// neither a block at the wrong place nor bytes inside a value pass for a record.
//
// Promises: scan_segment() returns whole batches only. What follows the last whole batch is either
//           nothing, or the torn remains of one batch whose flush never finished (`torn`: cut it at
//           `end`), or kCorrupt: a record is bad although a later batch was written after it, and a
//           later batch is only ever written when everything before it was durable.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "mds/paxos/types.h"

namespace cairn::mds::replication {

// Counts the records of a log, from 1, over all segments. Not a slot: many records concern one
// slot.
using Lsn = StrongNum<struct LsnTag>;

inline constexpr std::uint32_t kRecordMagic = 0x324c4443;     // "CDL2"
inline constexpr std::uint32_t kOldRecordMagic = 0x314c4443;  // "CDL1", before replication
inline constexpr std::size_t kRecordHeaderBytes = 32;
// One command is one frame of a session at most (limits::kFrameMetaBytesMax) plus what the master
// adds.
inline constexpr ByteCount kRecordPayloadBytesMax = 8_MiB;

// Numbers are stored: never reused.
enum class RecordKind : std::uint8_t {
  kPromise = 1,
  kAccept = 2,
  kLearn = 3,
  kChosen = 4,
  kRecovery = 5,
  kFloor = 6,
};

// Slots below are not in this log any more, whatever its records say. Of the log itself: what was
// cut off must not come back, since a removed record may have had the last word about a slot.
struct FloorRecord {
  Slot slot;
};
using LogRecord = std::variant<paxos::PromiseRecord, paxos::AcceptRecord, paxos::LearnRecord,
                               paxos::ChosenRecord, paxos::RecoveryRecord, FloorRecord>;
std::vector<LogRecord> log_records(std::vector<paxos::Record> records);

// A record as it lies in a segment. Only the fields of its kind have a meaning.
struct RecordView {
  Lsn lsn;
  std::uint64_t offset = 0;  // in the segment
  std::uint32_t bytes = 0;   // with its header
  RecordKind kind = RecordKind::kPromise;
  paxos::Ballot ballot;
  Slot slot;
  bool active = false;
  paxos::ValueKind value_kind = paxos::ValueKind::kNoop;
  std::string_view value;  // in the segment's memory
};
paxos::Value value_of(const RecordView& view);

// What encode_batch() adds for this record.
std::size_t record_bytes(const LogRecord& record);

// Appends the records of one batch to `out`: the first one has number `first` and will lie at
// `offset` of the segment that begins with `segment`.
// Requires: not empty; no value over the payload limit.
void encode_batch(const std::vector<LogRecord>& batch, Lsn segment, std::uint64_t offset, Lsn first,
                  std::string* out);

// The record at the beginning of `bytes`, which lie at `offset` of the segment.
// Errors: kCorrupt; kUnsupported: a valid record of a kind this version does not know.
Result<RecordView> decode_record(Bytes bytes, Lsn segment, std::uint64_t offset);

struct ScannedSegment {
  std::uint64_t end = 0;  // bytes of whole batches
  Lsn next;               // number after the last whole batch
  bool torn = false;      // something that is not zero lies past `end`
};
using RecordVisitor = std::function<Status(const RecordView& view)>;

// Visits the records of whole batches. `segment` is the number the segment must begin with. Errors:
// kCorrupt (names the record and the byte), kUnsupported (written by another version of Cairn), or
// what `visit` returned.
Result<ScannedSegment> scan_segment(Bytes bytes, Lsn segment, const RecordVisitor& visit);

// "%016x.log" of the first number, and back; kInvalidArgument for another kind of name.
std::string segment_name(Lsn first);
Result<Lsn> parse_segment_name(std::string_view name);

}  // namespace cairn::mds::replication
