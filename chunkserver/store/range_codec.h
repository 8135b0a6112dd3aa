// Fields that journal records and index rows share: ranges, ops, checksums. Pure.
//
// Errors: the reader turns bad (byte_codec.h); what is not bad is sane: no range is empty, ranges
//         of a piece are sorted, disjoint and inside it, no extent touches disk block 0.
#pragma once

#include <vector>

#include "chunkserver/store/byte_codec.h"
#include "chunkserver/store/types.h"

namespace cairn::chunkserver::store {

inline void put_op(ByteWriter& out, OpId op) {
  out.put(op.epoch.raw());
  out.put(op.seq.raw());
}
inline OpId get_op(ByteReader& in) {
  const auto epoch = in.get<std::uint64_t>();
  const auto seq = in.get<std::uint64_t>();
  return {LeaseEpoch(epoch), OpSeq(seq)};
}

inline void put_facts(ByteWriter& out, const PieceFacts& facts) {
  out.put(facts.generator);
  out.put(facts.data);
  out.put(facts.parity);
  out.put(facts.cell_bytes);
  out.put(facts.inode);
  out.put(facts.chunk_index);
}
inline PieceFacts get_facts(ByteReader& in) {
  PieceFacts facts;
  facts.generator = in.get<std::uint32_t>();
  facts.data = in.get<std::uint32_t>();
  facts.parity = in.get<std::uint32_t>();
  facts.cell_bytes = in.get<std::uint32_t>();
  facts.inode = in.get<std::uint64_t>();
  facts.chunk_index = in.get<std::uint64_t>();
  return facts;
}

// Range: BlockRange or Extent.
template <class Range>
void put_ranges(ByteWriter& out, const std::vector<Range>& ranges) {
  out.put(static_cast<std::uint32_t>(ranges.size()));
  for (const Range& range : ranges) {
    out.put(range.first);
    out.put(static_cast<std::uint32_t>(range.count));
  }
}
inline std::vector<BlockRange> get_block_ranges(ByteReader& in) {
  std::vector<BlockRange> ranges;
  const std::uint32_t count = in.get_count(12);
  ranges.reserve(count);
  std::uint64_t past = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto first = in.get<std::uint64_t>();
    const std::uint64_t blocks = in.get<std::uint32_t>();
    if (blocks == 0 || first < past || first > kPieceBlocksMax ||
        blocks > kPieceBlocksMax - first) {
      in.fail();
      return {};
    }
    ranges.push_back({first, blocks});
    past = first + blocks;
  }
  return ranges;
}
inline std::vector<Extent> get_extents(ByteReader& in) {
  std::vector<Extent> extents;
  const std::uint32_t count = in.get_count(12);
  extents.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto first = in.get<std::uint64_t>();
    const std::uint64_t blocks = in.get<std::uint32_t>();
    if (blocks == 0 || first == 0 || first + blocks < first) {
      in.fail();
      return {};
    }
    extents.push_back({first, blocks});
  }
  return extents;
}

template <class Number>
void put_numbers(ByteWriter& out, const std::vector<Number>& numbers) {
  out.put(static_cast<std::uint32_t>(numbers.size()));
  out.append({reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)});
}
template <class Number>
std::vector<Number> get_numbers(ByteReader& in) {
  std::vector<Number> numbers(in.get_count(sizeof(Number)));
  for (Number& number : numbers) number = in.get<Number>();
  return numbers;
}

// Both sorted and disjoint; true when they share no block.
inline bool apart(const std::vector<BlockRange>& a, const std::vector<BlockRange>& b) {
  for (auto i = a.begin(), j = b.begin(); i != a.end() && j != b.end();) {
    if (i->end() <= j->first) {
      ++i;
    } else if (j->end() <= i->first) {
      ++j;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace cairn::chunkserver::store
