// What the tests of rows share: short names for ids, and a RowStore that is nothing but maps.
#pragma once

#include <map>
#include <utility>

#include "chunkserver/store/row_store.h"

namespace cairn::chunkserver::store {

inline OpId op_id(std::uint64_t epoch, std::uint64_t seq) {
  return {LeaseEpoch(epoch), OpSeq(seq)};
}
inline PieceId piece_id(std::uint64_t chunk, std::uint8_t index = 2) {
  return {ChunkId::from_raw(chunk), cairn::PieceIndex(index)};
}

class FakeRows final : public RowStore {
 public:
  Result<const PieceRow*> piece(PieceId piece) override {
    const auto it = pieces.find(piece);
    return it == pieces.end() ? nullptr : &it->second;
  }
  Result<const Segment*> segment(PieceId piece, std::uint32_t number) override {
    static const Segment kEmpty;
    const auto it = segments.find({piece, number});
    return it == segments.end() ? &kEmpty : &it->second;
  }
  Result<PieceRow*> change_piece(PieceId piece) override { return &pieces[piece]; }
  Status erase_piece(PieceId piece) override {
    pieces.erase(piece);
    return {};
  }
  Result<Segment*> change_segment(PieceId piece, std::uint32_t number) override {
    return &segments[{piece, number}];
  }
  Result<std::vector<std::uint32_t>> segments_of(PieceId piece) override {
    std::vector<std::uint32_t> numbers;
    for (const auto& [key, segment] : segments) {
      if (key.first == piece && !segment.empty()) numbers.push_back(key.second);
    }
    return numbers;
  }
  Result<UsedRegion*> change_region(std::uint64_t number) override { return &regions[number]; }
  Counters& counters() override { return counters_; }

  std::map<PieceId, PieceRow> pieces;
  std::map<std::pair<PieceId, std::uint32_t>, Segment> segments;
  std::map<std::uint64_t, UsedRegion> regions;

 private:
  Counters counters_;
};

}  // namespace cairn::chunkserver::store
