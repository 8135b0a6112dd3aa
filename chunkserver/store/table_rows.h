// TableRows: the decoded rows that a PieceTable holds in memory: which of them the Kv does not have
// yet, which a checkpoint is writing, which may be dropped. Pure.
//
// Promises: a change of a row that a checkpoint holds goes to a copy. freeze() and checkpointed()
//           take no time for each row: a row knows the generation of its last change, and a
//           generation becomes saved as a whole.
// Requires: learn() with what the Kv holds *now*: nothing that was read before the last
//           checkpointed().
// Limits:   trim() drops clean rows; the others stay.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "chunkserver/store/rows.h"

namespace cairn::chunkserver::store {

// The rows that changed in one generation, each once. nullptr: the piece is gone.
struct TableChanges {
  struct Piece {
    PieceId piece;
    std::shared_ptr<const PieceRow> row;
  };
  struct SegmentRow {
    PieceId piece;
    std::uint32_t number = 0;
    std::shared_ptr<const Segment> segment;
  };
  struct Region {
    std::uint64_t number = 0;
    std::shared_ptr<const UsedRegion> region;
  };
  std::vector<Piece> pieces;
  std::vector<SegmentRow> segments;
  std::vector<Region> regions;
  bool empty() const { return pieces.empty() && segments.empty() && regions.empty(); }
};

class TableRows {
 public:
  template <class Row>
  struct Slot {
    std::shared_ptr<Row> row;     // nullptr: no such piece; an empty segment
    std::uint64_t changed = 0;    // generation of the last change; 0: as in the Kv
    std::uint32_t change_at = 0;  // in the changes of that generation
    std::uint32_t charged = 0;    // bytes
  };
  struct SegmentSlot {
    std::uint32_t number = 0;
    Slot<Segment> slot;
  };
  // A piece and those of its segments that are here.
  struct Piece {
    PieceId id;
    Slot<PieceRow> row;
    bool known = false;     // the row was looked for
    bool complete = false;  // segments that are not here hold nothing
    bool used = false;      // since the last look of trim()
    std::uint32_t clock_at = 0;
    std::vector<SegmentSlot> segments;  // by number
    const SegmentSlot* find(std::uint32_t number) const;
    SegmentSlot* find(std::uint32_t number) {
      return const_cast<SegmentSlot*>(std::as_const(*this).find(number));
    }
    bool has(std::uint32_t number) const { return complete || find(number) != nullptr; }
  };

  // Marks it as used. nullptr: nothing of it is here.
  Piece* find(PieceId piece);
  const Piece* peek(PieceId piece) const;
  bool has_region(std::uint64_t number) const { return regions_.contains(number); }

  // What the Kv holds. What is here already wins.
  Piece& learn_piece(PieceId piece, std::optional<PieceRow> row);
  void learn_segment(Piece& piece, std::uint32_t number, Segment segment);
  void learn_all_segments(Piece& piece) { piece.complete = true; }
  void learn_region(std::uint64_t number, UsedRegion region);
  // The entry of a piece, made if absent, with nothing known.
  Piece& entry(PieceId piece);

  // Rows to change; the piece is known, the segment or region is here (or empty).
  PieceRow* change_piece(Piece& piece);
  void erase_piece(Piece& piece);
  Segment* change_segment(Piece& piece, std::uint32_t number);
  UsedRegion* change_region(std::uint64_t number);

  bool dirty() const { return !changes_->empty(); }
  // In memory and, about as much again, encoded.
  ByteCount dirty_bytes() const;
  std::shared_ptr<const TableChanges> freeze();
  void checkpointed();
  // Grows with every checkpoint.
  std::uint64_t saved() const { return saved_; }
  void trim(ByteCount limit);

  const TableChanges& changes() const { return *changes_; }
  // nullptr: no checkpoint is under way.
  const TableChanges* frozen() const { return frozen_.get(); }

 private:
  struct Region {
    std::uint64_t number = 0;
    bool used = false;
    std::uint32_t clock_at = 0;
    Slot<UsedRegion> slot;
  };
  // Bytes in memory, by what may become of them.
  struct Bytes {
    ByteCount all = 0;
    ByteCount dirty = 0;
    ByteCount frozen = 0;
    ByteCount clean() const { return all - dirty - frozen; }
  };
  // Entries in the order in which trim() looks at them.
  template <class Entry>
  struct Clock {
    std::vector<Entry*> entries;
    std::size_t hand = 0;
    void add(Entry& entry);
    void remove(Entry& entry);
  };

  // The row becomes one of this generation, a copy if a checkpoint holds it. True when it was not.
  template <class Row>
  bool touch(Slot<Row>& slot, Bytes& bytes);
  template <class Row>
  bool clean(const Slot<Row>& slot) const {
    return slot.changed <= saved_;
  }
  template <class Row>
  void charge(Slot<Row>& slot, Bytes& bytes, std::size_t size);
  // What was handed out to be changed has been changed since: counts it anew.
  void recharge();
  // Drops what of the piece is clean. True when the entry is gone.
  bool drop_clean(Piece& piece);
  void trim_pieces(ByteCount limit);
  void trim_regions(ByteCount limit);

  std::uint64_t generation_ = 1;
  std::uint64_t saved_ = 0;
  std::shared_ptr<TableChanges> changes_ = std::make_shared<TableChanges>();
  std::shared_ptr<const TableChanges> frozen_;
  std::unordered_map<PieceId, Piece, PieceIdHash> pieces_;
  std::unordered_map<std::uint64_t, Region> regions_;
  Clock<Piece> piece_clock_;
  Clock<Region> region_clock_;
  Bytes pieces_bytes_;
  Bytes regions_bytes_;
  // Handed out last to be changed; of this generation.
  Piece* last_piece_ = nullptr;
  Piece* last_segment_piece_ = nullptr;
  std::uint32_t last_segment_ = 0;
};

}  // namespace cairn::chunkserver::store
