// A counter on the device under test: one block of a thread's file. Pure.
//
// Block (4096 bytes, little-endian):
//      0  8  magic "CRNHWFL1"
//      8  4  thread id
//     12  4  0
//     16 16  id of the directory
//     32  8  counter, 1 or more
//     40  .  filler that follows from the counter, so that no two blocks are equal
//   4092  4  CRC32C of what is before
// Counter n lies in block n modulo the blocks of the file (2 or more): a record that was torn by
// the power cut leaves the one before it as it was.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::admin::hwflush {

inline constexpr ByteCount kRecordBytes = kBlockBytes;
inline constexpr ByteCount kRecordsPerFileMin = 2;

// Names a directory under test for ever; all 0: none.
struct DirectoryId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool empty() const { return high == 0 && low == 0; }
  std::string to_string() const;  // 32 hex digits
  static std::optional<DirectoryId> parse(std::string_view text);
  friend auto operator<=>(const DirectoryId&, const DirectoryId&) = default;
};

struct Record {
  DirectoryId directory;
  std::uint32_t thread = 0;
  std::uint64_t counter = 0;
  friend bool operator==(const Record&, const Record&) = default;
};

// `into` has kRecordBytes.
void encode_record(const Record& record, MutableBytes into);
// nullopt: torn, never written, or not a record.
std::optional<Record> decode_record(Bytes block);

// The newest counter of that thread and directory in a part of its file; 0: none. A last block that
// is not whole counts for nothing.
std::uint64_t newest_counter(Bytes blocks, DirectoryId directory, std::uint32_t thread);

}  // namespace cairn::admin::hwflush
