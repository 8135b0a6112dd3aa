#include "chunkserver/store/table_rows.h"

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

// What an allocation and an entry of a hash table cost beside their bytes, about.
constexpr std::size_t kAllocationBytes = 16;
constexpr std::size_t kEntryBytes = 48;
constexpr std::size_t kSampledOps = 4;

std::size_t heap_bytes(const PendingOp& op) {
  std::size_t bytes = 16 * (op.writes.capacity() + op.zeroes.capacity() + op.deltas.capacity() +
                            op.extents.capacity());
  bytes += 4 * op.crcs.capacity();
  return bytes + 3 * kAllocationBytes;
}

// Looks at a few ops only: it is asked at every change.
std::size_t size_of(const PieceRow* row) {
  if (row == nullptr) return 0;
  std::size_t bytes = sizeof(PieceRow) + 2 * kAllocationBytes;
  bytes += row->forwarded.capacity() * sizeof(ForwardedOp);
  bytes += row->pending.capacity() * sizeof(PendingOp);
  const std::size_t sampled = std::min(kSampledOps, row->pending.size());
  if (sampled == 0) return bytes;
  std::size_t heap = 0;
  for (std::size_t i = 0; i < sampled; ++i) {
    heap += heap_bytes(row->pending[row->pending.size() - 1 - i]);
  }
  return bytes + heap * row->pending.size() / sampled;
}
std::size_t size_of(const Segment* segment) {
  const std::size_t slot = sizeof(TableRows::SegmentSlot);
  if (segment == nullptr) return slot;
  return slot + sizeof(Segment) + 2 * kAllocationBytes + segment->heap_bytes();
}
constexpr std::size_t kRegionBytes = sizeof(UsedRegion) + 3 * kAllocationBytes + kEntryBytes;

}  // namespace

const TableRows::SegmentSlot* TableRows::Piece::find(std::uint32_t number) const {
  const auto at =
      std::lower_bound(segments.begin(), segments.end(), number,
                       [](const SegmentSlot& slot, std::uint32_t n) { return slot.number < n; });
  return at != segments.end() && at->number == number ? &*at : nullptr;
}

template <class Entry>
void TableRows::Clock<Entry>::add(Entry& entry) {
  entry.clock_at = static_cast<std::uint32_t>(entries.size());
  entries.push_back(&entry);
}
template <class Entry>
void TableRows::Clock<Entry>::remove(Entry& entry) {
  entries[entry.clock_at] = entries.back();
  entries[entry.clock_at]->clock_at = entry.clock_at;
  entries.pop_back();
}

template <class Row>
void TableRows::charge(Slot<Row>& slot, Bytes& bytes, std::size_t size) {
  const auto now = static_cast<std::uint32_t>(size);
  const auto recount = [&](ByteCount& sum) { sum = sum + now - slot.charged; };
  recount(bytes.all);
  if (slot.changed == generation_) {
    recount(bytes.dirty);
  } else if (slot.changed > saved_) {
    recount(bytes.frozen);
  }
  slot.charged = now;
}

template <class Row>
bool TableRows::touch(Slot<Row>& slot, Bytes& bytes) {
  if (slot.changed == generation_) return false;
  if (slot.changed > saved_) {
    if (slot.row != nullptr) slot.row = std::make_shared<Row>(*slot.row);
    bytes.frozen -= slot.charged;
  }
  slot.changed = generation_;
  bytes.dirty += slot.charged;
  return true;
}

void TableRows::recharge() {
  if (Piece* const piece = std::exchange(last_piece_, nullptr)) {
    charge(piece->row, pieces_bytes_, size_of(piece->row.row.get()) + sizeof(Piece) + kEntryBytes);
  }
  if (Piece* const piece = std::exchange(last_segment_piece_, nullptr)) {
    SegmentSlot* const slot = piece->find(last_segment_);
    charge(slot->slot, pieces_bytes_, size_of(slot->slot.row.get()));
  }
}

TableRows::Piece* TableRows::find(PieceId piece) {
  const auto it = pieces_.find(piece);
  if (it == pieces_.end()) return nullptr;
  it->second.used = true;
  return &it->second;
}
const TableRows::Piece* TableRows::peek(PieceId piece) const {
  const auto it = pieces_.find(piece);
  return it == pieces_.end() ? nullptr : &it->second;
}

TableRows::Piece& TableRows::entry(PieceId piece) {
  const auto [it, made] = pieces_.try_emplace(piece);
  Piece& entry = it->second;
  entry.used = true;
  if (made) {
    entry.id = piece;
    piece_clock_.add(entry);
    charge(entry.row, pieces_bytes_, sizeof(Piece) + kEntryBytes);
  }
  return entry;
}

TableRows::Piece& TableRows::learn_piece(PieceId piece, std::optional<PieceRow> row) {
  Piece& entry = this->entry(piece);
  if (entry.known) return entry;
  entry.known = true;
  if (!row.has_value() || row->blocks == 0) entry.complete = true;
  if (row.has_value()) entry.row.row = std::make_shared<PieceRow>(std::move(*row));
  charge(entry.row, pieces_bytes_, size_of(entry.row.row.get()) + sizeof(Piece) + kEntryBytes);
  return entry;
}

void TableRows::learn_segment(Piece& piece, std::uint32_t number, Segment segment) {
  if (piece.has(number)) return;
  const auto at =
      std::lower_bound(piece.segments.begin(), piece.segments.end(), number,
                       [](const SegmentSlot& slot, std::uint32_t n) { return slot.number < n; });
  SegmentSlot slot;
  slot.number = number;
  if (!segment.empty()) slot.slot.row = std::make_shared<Segment>(std::move(segment));
  charge(slot.slot, pieces_bytes_, size_of(slot.slot.row.get()));
  piece.segments.insert(at, std::move(slot));
}

void TableRows::learn_region(std::uint64_t number, UsedRegion region) {
  const auto [it, made] = regions_.try_emplace(number);
  if (!made) return;
  Region& entry = it->second;
  entry.number = number;
  entry.used = true;
  entry.slot.row = std::make_shared<UsedRegion>(region);
  region_clock_.add(entry);
  charge(entry.slot, regions_bytes_, kRegionBytes);
}

PieceRow* TableRows::change_piece(Piece& piece) {
  CHECK(piece.known);
  recharge();
  Slot<PieceRow>& slot = piece.row;
  const bool first = touch(slot, pieces_bytes_);
  const bool made = slot.row == nullptr;
  if (made) slot.row = std::make_shared<PieceRow>();
  if (first) {
    slot.change_at = static_cast<std::uint32_t>(changes_->pieces.size());
    changes_->pieces.push_back({piece.id, slot.row});
  } else if (made) {
    changes_->pieces[slot.change_at].row = slot.row;
  }
  last_piece_ = &piece;
  return slot.row.get();
}

void TableRows::erase_piece(Piece& piece) {
  CHECK(piece.known);
  recharge();
  Slot<PieceRow>& slot = piece.row;
  if (slot.row == nullptr) return;
  const bool first = slot.changed != generation_;
  if (first) {
    // No copy of what goes.
    if (slot.changed > saved_) pieces_bytes_.frozen -= slot.charged;
    slot.changed = generation_;
    pieces_bytes_.dirty += slot.charged;
    slot.change_at = static_cast<std::uint32_t>(changes_->pieces.size());
    changes_->pieces.push_back({piece.id, nullptr});
  } else {
    changes_->pieces[slot.change_at].row = nullptr;
  }
  slot.row = nullptr;
  charge(slot, pieces_bytes_, sizeof(Piece) + kEntryBytes);
}

Segment* TableRows::change_segment(Piece& piece, std::uint32_t number) {
  recharge();
  SegmentSlot* found = piece.find(number);
  if (found == nullptr) {
    // Not here and not in the Kv: it is empty.
    CHECK(piece.complete);
    piece.complete = false;
    learn_segment(piece, number, Segment());
    piece.complete = true;
    found = piece.find(number);
  }
  Slot<Segment>& slot = found->slot;
  const bool first = touch(slot, pieces_bytes_);
  if (slot.row == nullptr) slot.row = std::make_shared<Segment>();
  if (first) {
    slot.change_at = static_cast<std::uint32_t>(changes_->segments.size());
    changes_->segments.push_back({piece.id, number, slot.row});
  }
  last_segment_piece_ = &piece;
  last_segment_ = number;
  return slot.row.get();
}

UsedRegion* TableRows::change_region(std::uint64_t number) {
  const auto it = regions_.find(number);
  CHECK(it != regions_.end());
  Region& region = it->second;
  region.used = true;
  if (touch(region.slot, regions_bytes_)) {
    changes_->regions.push_back({number, region.slot.row});
  }
  return region.slot.row.get();
}

ByteCount TableRows::dirty_bytes() const {
  ByteCount bytes = pieces_bytes_.dirty + regions_bytes_.dirty;
  if (last_piece_ != nullptr) {
    bytes += size_of(last_piece_->row.row.get()) + sizeof(Piece) + kEntryBytes;
    bytes -= last_piece_->row.charged;
  }
  if (last_segment_piece_ != nullptr) {
    const SegmentSlot* const slot = last_segment_piece_->find(last_segment_);
    bytes += size_of(slot->slot.row.get());
    bytes -= slot->slot.charged;
  }
  return 2 * bytes;
}

std::shared_ptr<const TableChanges> TableRows::freeze() {
  CHECK(frozen_ == nullptr);
  recharge();
  frozen_ = std::exchange(changes_, std::make_shared<TableChanges>());
  for (Bytes* bytes : {&pieces_bytes_, &regions_bytes_}) {
    bytes->frozen = std::exchange(bytes->dirty, 0);
  }
  ++generation_;
  return frozen_;
}

void TableRows::checkpointed() {
  CHECK(frozen_ != nullptr);
  saved_ = generation_ - 1;
  pieces_bytes_.frozen = 0;
  regions_bytes_.frozen = 0;
  frozen_ = nullptr;
}

bool TableRows::drop_clean(Piece& piece) {
  bool lost = false;
  std::erase_if(piece.segments, [&](SegmentSlot& slot) {
    if (!clean(slot.slot)) return false;
    lost = lost || (slot.slot.row != nullptr && !slot.slot.row->empty());
    charge(slot.slot, pieces_bytes_, 0);
    return true;
  });
  if (lost) piece.complete = false;
  if (!piece.segments.empty() || !clean(piece.row)) return false;
  charge(piece.row, pieces_bytes_, 0);
  piece_clock_.remove(piece);
  const PieceId id = piece.id;
  pieces_.erase(id);
  return true;
}

void TableRows::trim_pieces(ByteCount limit) {
  if (pieces_bytes_.clean() <= limit) return;
  // A little more than needed, so that it is not called for every row.
  const ByteCount target = limit - limit / 16;
  std::size_t& hand = piece_clock_.hand;
  for (std::size_t looks = 2 * piece_clock_.entries.size();
       looks != 0 && pieces_bytes_.clean() > target; --looks) {
    if (hand >= piece_clock_.entries.size()) hand = 0;
    Piece& piece = *piece_clock_.entries[hand];
    if (std::exchange(piece.used, false) || !drop_clean(piece)) ++hand;
  }
}

void TableRows::trim_regions(ByteCount limit) {
  if (regions_bytes_.clean() <= limit) return;
  const ByteCount target = limit - limit / 16;
  std::size_t& hand = region_clock_.hand;
  for (std::size_t looks = 2 * region_clock_.entries.size();
       looks != 0 && regions_bytes_.clean() > target; --looks) {
    if (hand >= region_clock_.entries.size()) hand = 0;
    Region& region = *region_clock_.entries[hand];
    if (std::exchange(region.used, false) || !clean(region.slot)) {
      ++hand;
      continue;
    }
    charge(region.slot, regions_bytes_, 0);
    region_clock_.remove(region);
    const std::uint64_t number = region.number;
    regions_.erase(number);
  }
}

void TableRows::trim(ByteCount limit) {
  // Regions are few: a quarter is plenty.
  trim_pieces(limit - limit / 4);
  trim_regions(limit / 4);
}

}  // namespace cairn::chunkserver::store
