// TableLoad: which rows are missing for some work, and reading them from the Kv in one go. Pure:
// what runs where is the caller's business.
//
// Promises: planning looks at rows that are here only; rows that are found missing once others were
//           read come with the next plan. An empty plan: all is here.
// Errors:   kCorrupt, kDiskFailed.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "chunkserver/store/table_rows.h"
#include "common/kv/kv.h"

namespace cairn::chunkserver::store {

class TableLoad {
 public:
  explicit TableLoad(const TableRows& rows) : rows_(&rows) {}

  // The row of the piece and the segments under `ranges`.
  void want(PieceId piece, const std::vector<BlockRange>& ranges);
  // What apply() of the record looks at.
  void want(const Record& record);
  // True: nothing is missing.
  bool empty() const { return pieces_.empty() && regions_.empty(); }
  // Pieces of which not even the row is here.
  std::vector<PieceId> unknown_pieces() const;

  // Anywhere: does not look at the rows that are here.
  Status read(const kv::Reader& reader);
  // Puts what was read among the rows.
  void deliver(TableRows& rows);

 private:
  struct Piece {
    bool read_row = false;
    bool whole = false;  // all segments
    std::set<std::uint32_t> numbers;
    std::optional<PieceRow> row;
    std::map<std::uint32_t, Segment> segments;
  };

  // `known`: nullptr when nothing of the piece is here.
  void want_segments(PieceId piece, const TableRows::Piece* known,
                     const std::vector<BlockRange>& ranges);
  void want_region(std::uint64_t disk);
  void want_regions(const std::vector<Extent>& extents);
  // Regions of what lies under the ranges now.
  void want_replaced(const TableRows::Piece& known, const std::vector<BlockRange>& ranges);
  // What settling the op looks at.
  void want_settled(const TableRows::Piece& known, const PendingOp& op);
  // What the first decided ops without deltas look at, when those below `mark` are decided.
  void want_settled_below(const TableRows::Piece& known, OpId mark);
  // `known` has a row.
  void want(const TableRows::Piece& known, const PrepareRecord& record);
  void want(const TableRows::Piece& known, const SettleRecord& record);
  void want(const TableRows::Piece& known, const SealRecord& record);
  void want(const TableRows::Piece& known, const ResolveRecord& record);
  void want(const TableRows::Piece& known, const RemoveRecord& record);
  void want(const TableRows::Piece& known, const FoldRecord& record);
  void want(const TableRows::Piece& known, const HealRecord& record);

  static Status read_piece(const kv::Reader& reader, PieceId id, Piece* piece);

  const TableRows* rows_;
  std::map<PieceId, Piece> pieces_;
  std::map<std::uint64_t, UsedRegion> regions_;
};

// All segments of a piece in the Kv.
Status read_segments(const kv::Reader& reader, PieceId piece,
                     std::map<std::uint32_t, Segment>* segments);

}  // namespace cairn::chunkserver::store
