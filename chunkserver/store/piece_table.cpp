#include "chunkserver/store/piece_table.h"

#include <algorithm>

#include "chunkserver/store/table_load.h"

namespace cairn::chunkserver::store {
namespace {

// After so many rounds the rest is read on the spot: somebody drops rows faster than they come.
constexpr int kLoadRoundsMax = 8;
// Pieces looked at by one step of next_piece().
constexpr std::size_t kNextPieces = 64;

class FrozenTable final : public PieceTable::Frozen {
 public:
  FrozenTable(std::shared_ptr<const TableChanges> changes, Counters counters)
      : changes_(std::move(changes)), counters_(counters) {}
  kv::Batch batch(const TablePosition& position) const override;

 private:
  std::shared_ptr<const TableChanges> changes_;
  Counters counters_;
};

kv::Batch FrozenTable::batch(const TablePosition& position) const {
  std::vector<kv::Change> changes;
  changes.reserve(changes_->pieces.size() + changes_->segments.size() + changes_->regions.size() +
                  2);
  for (const TableChanges::Piece& piece : changes_->pieces) {
    std::optional<std::string> value;
    if (piece.row != nullptr) value = encode(*piece.row);
    changes.push_back({piece_key(piece.piece), std::move(value)});
  }
  for (const TableChanges::SegmentRow& row : changes_->segments) {
    std::optional<std::string> value;
    if (!row.segment->empty()) value = encode(*row.segment);
    changes.push_back({segment_key(row.piece, row.number), std::move(value)});
  }
  for (const TableChanges::Region& row : changes_->regions) {
    std::optional<std::string> value;
    if (!row.region->empty()) value = encode(*row.region);
    changes.push_back({region_key(row.number), std::move(value)});
  }
  changes.push_back({std::string(kCountersKey), encode(counters_)});
  changes.push_back({std::string(kPositionKey), encode(position)});
  // Sorted: the same changes are the same batch, whatever order they came in.
  std::sort(changes.begin(), changes.end(),
            [](const kv::Change& a, const kv::Change& b) { return a.key < b.key; });
  kv::Batch batch;
  for (kv::Change& change : changes) {
    if (change.value.has_value()) {
      batch.put(std::move(change.key), std::move(*change.value));
    } else {
      batch.erase(std::move(change.key));
    }
  }
  return batch;
}

// The first pieces of the Kv after `after`.
Status read_pieces(const kv::Reader* reader, std::optional<PieceId> after,
                   std::vector<PieceId>* pieces) {
  std::string begin(kPiecePrefix);
  // The first key after it.
  if (after.has_value()) begin = piece_key(*after) + '\0';
  Status status;
  const auto visit = [&](std::string_view key, std::string_view) {
    const Result<PieceId> piece = parse_piece_key(key);
    if (!piece.has_value()) {
      status = fail(piece.error());
      return false;
    }
    pieces->push_back(*piece);
    return pieces->size() < kNextPieces;
  };
  TRY_VOID(reader->scan(begin, kv::prefix_end(kPiecePrefix), visit));
  return status;
}

}  // namespace

PieceTable::PieceTable(runtime::Runtime& runtime, kv::Kv& kv, Counters counters, Options options)
    : kv_(kv), counters_(counters), options_(std::move(options)), loaded_(runtime) {}

PieceTable::~PieceTable() = default;

Task<Status> PieceTable::offload(std::move_only_function<Status()> job) {
  if (!options_.offload) co_return job();
  co_return co_await options_.offload(std::move(job));
}

Task<Status> PieceTable::run(std::shared_ptr<TableLoad> load) {
  const std::uint64_t saved = rows_.saved();
  const std::vector<PieceId> unknown = load->unknown_pieces();
  loading_.insert(unknown.begin(), unknown.end());
  // The job holds what it fills: it may outlive whoever waits for it.
  std::move_only_function<Status()> job = [load, kv = &kv_] { return load->read(*kv); };
  Status status = co_await offload(std::move(job));
  for (const PieceId piece : unknown) loading_.erase(piece);
  loaded_.notify_all();
  // A row that was changed and saved meanwhile may be here no more: the old one must not come.
  if (status.has_value() && saved == rows_.saved()) load->deliver(rows_);
  co_return status;
}

Task<Status> PieceTable::load(PieceId piece, std::vector<BlockRange> ranges) {
  for (int round = 0; round < kLoadRoundsMax;) {
    auto load = std::make_shared<TableLoad>(rows_);
    load->want(piece, ranges);
    if (load->empty()) co_return Status();
    if (loading_.contains(piece)) {
      co_await loaded_.wait();
      continue;
    }
    CO_TRY_VOID(co_await run(std::move(load)));
    ++round;
  }
  co_return Status();
}

Task<Status> PieceTable::load_for(std::vector<const Record*> records) {
  for (int round = 0; round < kLoadRoundsMax; ++round) {
    TableLoad probe(rows_);
    for (const Record* record : records) probe.want(*record);
    if (probe.empty()) co_return Status();
    auto load = std::make_shared<TableLoad>(std::move(probe));
    CO_TRY_VOID(co_await run(std::move(load)));
  }
  co_return Status();
}

bool PieceTable::has(PieceId piece, const std::vector<BlockRange>& ranges) const {
  TableLoad load(rows_);
  load.want(piece, ranges);
  return load.empty();
}

bool PieceTable::has_for(std::span<const Record* const> records) const {
  TableLoad load(rows_);
  for (const Record* const record : records) load.want(*record);
  return load.empty();
}

Result<TableRows::Piece*> PieceTable::known(PieceId piece) {
  TableRows::Piece* const entry = rows_.find(piece);
  if (entry != nullptr && entry->known) return entry;
  TRY(std::optional<PieceRow> row, load_piece(kv_, piece));
  return &rows_.learn_piece(piece, std::move(row));
}

Result<const PieceRow*> PieceTable::piece(PieceId piece) {
  TRY(const TableRows::Piece* const entry, known(piece));
  return entry->row.row.get();
}

Result<const Segment*> PieceTable::segment(PieceId piece, std::uint32_t number) {
  static const Segment kEmpty;
  TableRows::Piece* entry = rows_.find(piece);
  if (entry == nullptr) entry = &rows_.entry(piece);
  const TableRows::SegmentSlot* slot = entry->find(number);
  if (slot == nullptr && !entry->complete) {
    TRY(Segment loaded, load_segment(kv_, piece, number));
    rows_.learn_segment(*entry, number, std::move(loaded));
    slot = entry->find(number);
  }
  if (slot == nullptr || slot->slot.row == nullptr) return &kEmpty;
  return slot->slot.row.get();
}

Result<PieceRow*> PieceTable::change_piece(PieceId piece) {
  TRY(TableRows::Piece* const entry, known(piece));
  return rows_.change_piece(*entry);
}

Status PieceTable::erase_piece(PieceId piece) {
  TRY(TableRows::Piece* const entry, known(piece));
  rows_.erase_piece(*entry);
  return {};
}

Result<Segment*> PieceTable::change_segment(PieceId piece, std::uint32_t number) {
  TableRows::Piece* entry = rows_.find(piece);
  if (entry == nullptr) entry = &rows_.entry(piece);
  if (!entry->has(number)) {
    TRY(Segment loaded, load_segment(kv_, piece, number));
    rows_.learn_segment(*entry, number, std::move(loaded));
  }
  return rows_.change_segment(*entry, number);
}

Result<std::vector<std::uint32_t>> PieceTable::segments_of(PieceId piece) {
  TableRows::Piece& entry = rows_.entry(piece);
  if (!entry.complete) {
    std::map<std::uint32_t, Segment> segments;
    TRY_VOID(read_segments(kv_, piece, &segments));
    for (auto& [number, segment] : segments) {
      rows_.learn_segment(entry, number, std::move(segment));
    }
    rows_.learn_all_segments(entry);
  }
  std::vector<std::uint32_t> numbers;
  for (const TableRows::SegmentSlot& slot : entry.segments) {
    if (slot.slot.row != nullptr && !slot.slot.row->empty()) numbers.push_back(slot.number);
  }
  return numbers;
}

Result<UsedRegion*> PieceTable::change_region(std::uint64_t number) {
  if (!rows_.has_region(number)) {
    TRY(const UsedRegion loaded, load_region(kv_, number));
    rows_.learn_region(number, loaded);
  }
  return rows_.change_region(number);
}

bool PieceTable::is_gone(PieceId piece) const {
  const TableRows::Piece* const entry = rows_.peek(piece);
  return entry != nullptr && entry->known && entry->row.row == nullptr;
}

std::optional<PieceId> PieceTable::unsaved_after(std::optional<PieceId> after) const {
  std::optional<PieceId> best;
  for (const TableChanges* changes : {&rows_.changes(), rows_.frozen()}) {
    if (changes == nullptr) continue;
    for (const TableChanges::Piece& change : changes->pieces) {
      const bool behind = !after.has_value() || *after < change.piece;
      const bool better = !best.has_value() || change.piece < *best;
      if (behind && better && !is_gone(change.piece)) best = change.piece;
    }
  }
  return best;
}

Task<Result<std::optional<PieceId>>> PieceTable::next_piece(std::optional<PieceId> after) {
  std::optional<PieceId> from = after;
  for (;;) {
    const std::uint64_t saved = rows_.saved();
    const auto found = std::make_shared<std::vector<PieceId>>();
    std::move_only_function<Status()> job = [found, from, kv = &kv_] {
      return read_pieces(kv, from, found.get());
    };
    CO_TRY_VOID(co_await offload(std::move(job)));
    // What was new is in the Kv now, but was not when it was read.
    if (saved != rows_.saved()) continue;
    const auto there = std::find_if(found->begin(), found->end(),
                                    [this](PieceId piece) { return !is_gone(piece); });
    if (there == found->end() && found->size() == kNextPieces) {
      from = found->back();
      continue;
    }
    std::optional<PieceId> next = unsaved_after(after);
    if (there != found->end() && (!next.has_value() || *there < *next)) next = *there;
    co_return next;
  }
}

Status PieceTable::for_each_piece(const std::function<Status(PieceId, const PieceRow&)>& visit) {
  std::set<PieceId> pieces;
  Status status;
  const auto collect = [&](std::string_view key, std::string_view) {
    const Result<PieceId> piece = parse_piece_key(key);
    if (piece.has_value()) {
      pieces.insert(*piece);
    } else {
      status = fail(piece.error());
    }
    return status.has_value();
  };
  TRY_VOID(kv_.scan(kPiecePrefix, kv::prefix_end(kPiecePrefix), collect));
  TRY_VOID(std::move(status));
  for (const TableChanges* changes : {&rows_.changes(), rows_.frozen()}) {
    if (changes == nullptr) continue;
    for (const TableChanges::Piece& change : changes->pieces) pieces.insert(change.piece);
  }
  for (const PieceId piece : pieces) {
    TRY(const PieceRow* const row, this->piece(piece));
    if (row == nullptr) continue;
    TRY_VOID(visit(piece, *row));
  }
  return {};
}

bool PieceTable::dirty() const { return rows_.dirty(); }
ByteCount PieceTable::dirty_bytes() const { return rows_.dirty_bytes(); }

std::shared_ptr<const PieceTable::Frozen> PieceTable::freeze() {
  return std::make_shared<FrozenTable>(rows_.freeze(), counters_);
}
void PieceTable::checkpointed() { rows_.checkpointed(); }
void PieceTable::trim() { rows_.trim(options_.cache_bytes); }

}  // namespace cairn::chunkserver::store
