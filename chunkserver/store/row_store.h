// RowStore: the table as what records change: decoded rows that can be looked at and changed in
// place. Pure interface: the live table (PieceTable) and small fakes of tests stand behind it.
//
// Promises: a row that was changed is what later calls see, at once. Pointers stay good while other
//           rows are looked at and changed; one that was only to look may or may not show later
//           changes of its row.
// Errors:   kCorrupt (undecodable row), kDiskFailed.
#pragma once

#include <optional>
#include <vector>

#include "chunkserver/store/rows.h"

namespace cairn::chunkserver::store {

class RowReader {
 public:
  virtual ~RowReader() = default;
  // nullptr: there is no such piece.
  virtual Result<const PieceRow*> piece(PieceId piece) = 0;
  // Never nullptr: a segment without blocks is empty.
  virtual Result<const Segment*> segment(PieceId piece, std::uint32_t number) = 0;
};

class RowStore : public RowReader {
 public:
  // Made (exists false, nothing in it) if absent.
  virtual Result<PieceRow*> change_piece(PieceId piece) = 0;
  virtual Status erase_piece(PieceId piece) = 0;
  virtual Result<Segment*> change_segment(PieceId piece, std::uint32_t number) = 0;
  // Numbers of the segments that hold blocks.
  virtual Result<std::vector<std::uint32_t>> segments_of(PieceId piece) = 0;
  virtual Result<UsedRegion*> change_region(std::uint64_t number) = 0;
  virtual Counters& counters() = 0;
};

}  // namespace cairn::chunkserver::store
