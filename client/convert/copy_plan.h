// CopyPlan: which parts of a file its copy still lacks, or has and should not (docs/protocols/
// conversion.md, "One file"). Pure: looks go in, work comes out.
//
// A range is what one chunk of the source holds. A chunk with the same stamp has the same bytes, so
// a range is up to date when the chunk had its present stamp before it was read.
//
// Requires: looks are made under a lease of the source, before the range is read.
// Limits:   memory: a few dozen bytes a chunk.
#pragma once

#include <bitset>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/ids.h"
#include "common/base/units.h"
#include "proto/types.pb.h"

namespace cairn::client::convert {

// Of a settled chunk.
struct Stamp {
  ChunkId chunk;
  std::uint64_t opened = 0;
  friend bool operator==(const Stamp&, const Stamp&) = default;
};

struct SeenChunk {
  std::uint64_t index = 0;
  std::optional<Stamp> stamp;  // none: it is open, whatever is read of it may be old at once
};
SeenChunk seen(const pb::Chunk& chunk);

// One range to be brought up to date.
struct RangeWork {
  std::uint64_t index = 0;
  bool absent = false;  // a hole by now: zeros
  std::optional<Stamp> stamp;
  friend bool operator==(const RangeWork&, const RangeWork&) = default;
};

class CopyPlan {
 public:
  explicit CopyPlan(ByteCount range_bytes) : range_bytes_(range_bytes) {}

  ByteCount range_bytes() const { return range_bytes_; }
  // A look that told all chunks with an index in [first, end).
  std::vector<RangeWork> judge(const std::vector<SeenChunk>& chunks, std::uint64_t first,
                               std::uint64_t end) const;
  // It was copied (or zeroed) since that look.
  void done(const RangeWork& work);
  // The copy has only `size` bytes now.
  void cut(ByteCount size);
  // Bytes of the range in a file of `size` bytes.
  ByteCount bytes_of(std::uint64_t index, ByteCount size) const;

 private:
  const ByteCount range_bytes_;
  std::map<std::uint64_t, std::optional<Stamp>> copied_;  // by index
};

// Where the copy may have other bytes than zeros, by 256th parts of a range.
class WrittenParts {
 public:
  explicit WrittenParts(ByteCount range_bytes);

  // [offset, offset + length) was, or is about to be, written.
  void add(std::uint64_t offset, ByteCount length);
  // Whether [offset, offset + length) may have any.
  bool any(std::uint64_t offset, ByteCount length) const;
  // The range is zeros, or past the end.
  void clear_range(std::uint64_t index) { parts_.erase(index); }
  void cut(ByteCount size);

  struct Run {
    std::uint64_t offset = 0;
    ByteCount length = 0;
    friend bool operator==(const Run&, const Run&) = default;
  };
  // Of one range, up to `size`.
  std::vector<Run> runs(std::uint64_t index, ByteCount size) const;

 private:
  static constexpr std::size_t kParts = 256;
  const ByteCount range_bytes_;
  const ByteCount part_bytes_;
  std::map<std::uint64_t, std::bitset<kParts>> parts_;  // by range; absent: none
};

// Bytes that go to `offset` of the copy.
struct WriteRun {
  std::uint64_t offset = 0;
  Bytes bytes;
};
// Of `bytes` at `offset` (a multiple of a block): all but blocks of zeros where the copy has
// nothing else.
std::vector<WriteRun> runs_to_write(std::uint64_t offset, Bytes bytes, const WrittenParts& written);

// Whether another round of copying is worth it before the file is held still.
class Rounds {
 public:
  static constexpr unsigned kMost = 5;
  // One more was made, which copied so many ranges.
  bool again(std::uint64_t ranges);

 private:
  unsigned made_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace cairn::client::convert
