// Log format: the bytes of a log segment. Pure: no file, no clock. docs/formats/mds-log.md.
//
// A segment is a run of records in slot order, then zeros or the end of the file. Records of one
// append form a batch; every record names the first slot of its batch, the last one is marked.
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
#include <vector>

#include "common/base/buffer.h"
#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::mds::replication {

struct Entry {
  Slot slot;
  std::string bytes;
};

inline constexpr std::uint32_t kRecordMagic = 0x314c4443;  // "CDL1"
inline constexpr std::size_t kRecordHeaderBytes = 32;
// One command is one frame of a session at most (limits::kFrameMetaBytesMax) plus what the master
// adds.
inline constexpr ByteCount kRecordPayloadBytesMax = 8_MiB;

// Appends the records of one batch to `out`.
// Requires: consecutive slots, not empty.
void encode_batch(const std::vector<Entry>& batch, std::string* out);

struct ScannedSegment {
  std::uint64_t end = 0;  // bytes of whole batches
  Slot next;              // slot after the last whole batch
  bool torn = false;      // something that is not zero lies past `end`
};
using EntryVisitor = std::function<Status(Slot slot, std::string_view bytes)>;

// Visits the records of whole batches. `first` is the slot the segment must begin with.
// Errors: kCorrupt (names the slot and the byte), or what `visit` returned.
Result<ScannedSegment> scan_segment(Bytes segment, Slot first, const EntryVisitor& visit);

// "%016x.log" of the first slot, and back; kInvalidArgument for another kind of name.
std::string segment_name(Slot first);
Result<Slot> parse_segment_name(std::string_view name);

}  // namespace cairn::mds::replication
