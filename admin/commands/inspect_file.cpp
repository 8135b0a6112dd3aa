#include "admin/commands/inspect_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "admin/commands/inspect_text.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

namespace inspect_cs = chunkserver::inspect;
using Json = nlohmann::ordered_json;

constexpr std::size_t kRangesMax = 10'000;
constexpr std::size_t kNotesMax = 1000;

std::string encoding_text(const erasure::Encoding& encoding) {
  if (encoding.is_replicas()) return fmt::format("{} replicas", encoding.pieces());
  return fmt::format("{}+{}", encoding.data, encoding.parity);
}

std::string op_name(chunkserver::store::OpId op) {
  return fmt::format("{}.{}", op.epoch.raw(), op.seq.raw());
}

Json undecided_json(const std::vector<inspect_cs::UndecidedOp>& ops) {
  Json json = Json::array();
  for (const inspect_cs::UndecidedOp& op : ops) {
    json.push_back({{"op", op_name(op.op)},
                    {"taken", op.counts},
                    {"pieces_with_it", pieces_json(op.with)},
                    {"pieces_without_it", pieces_json(op.without)}});
  }
  return json;
}

}  // namespace

Status SalvagedFile::add(std::uint64_t chunk_index,
                         std::vector<std::vector<inspect_cs::ChunkPiece>> candidates,
                         const std::function<Status()>& go_on) {
  const std::uint64_t before = last_chunk_.has_value() ? *last_chunk_ + 1 : 0;
  if (chunk_index > before && absent_.size() < kRangesMax) {
    absent_.push_back({before, chunk_index - before});
  }
  last_chunk_ = chunk_index;
  ++chunks_;
  bool taken = false;
  for (std::vector<inspect_cs::ChunkPiece>& pieces : candidates) {
    const ChunkId chunk = pieces.front().id.chunk;
    if (taken) {
      // A file that was cut off and written again has a new chunk there.
      keep(remarks_, {{"chunk_index", chunk_index},
                      {"chunk", chunk.raw()},
                      {"remark", "an older chunk of the same place; it is not looked at"}});
      continue;
    }
    Result<inspect_cs::ChunkSalvage> salvage =
        inspect_cs::ChunkSalvage::make(std::move(pieces), assume_);
    if (!salvage.has_value()) {
      keep(notes_, {{"chunk_index", chunk_index},
                    {"chunk", chunk.raw()},
                    {"error", salvage.error().message()}});
      continue;
    }
    taken = true;
    encoding_ = encoding_text(salvage->layout().encoding());
    chunk_bytes_ = salvage->layout().chunk_bytes();
    const std::uint64_t start = salvage->layout().chunk_start(chunk_index).raw();
    TRY_VOID(salvage->each_run([&](const inspect_cs::ChunkRun& run) -> Status {
      TRY_VOID(go_on());
      return write(run, start);
    }));
    note_chunk(chunk_index, chunk, salvage->report());
  }
  return {};
}

Status SalvagedFile::write(const inspect_cs::ChunkRun& run, std::uint64_t chunk_start) {
  const std::uint64_t at = chunk_start + run.offset.raw();
  end_ = std::max(end_, at + run.length);
  if (run.bytes.empty()) {
    lost_ += run.length;
    lost_here_.push_back({at, run.length});
    return output_.grow(at + run.length);
  }
  stored_ += run.length;
  return output_.put(at, run.bytes);
}

void SalvagedFile::note_chunk(std::uint64_t chunk_index, ChunkId chunk,
                              const inspect_cs::ChunkReport& report) {
  std::sort(lost_here_.begin(), lost_here_.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  for (const Range& range : lost_here_) {
    if (!lost_ranges_.empty() &&
        lost_ranges_.back().first + lost_ranges_.back().length == range.first) {
      lost_ranges_.back().length += range.length;
    } else if (lost_ranges_.size() < kRangesMax) {
      lost_ranges_.push_back(range);
    } else {
      cut_ = true;
    }
  }
  const bool lossy = !lost_here_.empty() || !report.unreadable.empty() || report.maybe_old ||
                     report.only_copies || report.contradicting_rows != 0;
  lost_here_.clear();
  assumed_rows_ += report.assumed_rows;
  const bool remarkable = lossy || report.older != 0 || report.fitted_rows != 0 ||
                          report.assumed_rows != 0 || report.damaged_blocks != 0 ||
                          !report.undecided.empty();
  if (!remarkable) return;
  Json json{{"chunk_index", chunk_index},
            {"chunk", chunk.raw()},
            {"version", report.version.raw()},
            {"pieces", pieces_json(report.newest)},
            {"older_pieces", pieces_json(report.older)},
            {"lost_blocks", report.lost_blocks},
            {"damaged_blocks", report.damaged_blocks},
            {"rows_by_parity_alone", report.fitted_rows},
            {"contradicting_rows", report.contradicting_rows},
            {assume_ ? "rows_by_assumption" : "rows_to_assume", report.assumed_rows}};
  if (report.maybe_old) json["without_journal"] = true;
  if (report.copies != 0) json["unconfirmed_copies"] = pieces_json(report.copies);
  if (report.only_copies) json["only_copies"] = true;
  if (!report.undecided.empty()) json["undecided_ops"] = undecided_json(report.undecided);
  if (!report.unreadable.empty()) json["unreadable"] = report.unreadable;
  keep(lossy ? notes_ : remarks_, std::move(json));
}

void SalvagedFile::keep(std::vector<Json>& list, Json json) {
  if (list.size() < kNotesMax) {
    list.push_back(std::move(json));
  } else {
    cut_ = true;
  }
}

Json SalvagedFile::summary() const {
  return Json{
      {"inode", inode_},     {"encoding", encoding_},
      {"bytes_up_to", end_}, {"stored_bytes", stored_},
      {"lost_bytes", lost_}, {assume_ ? "rows_by_assumption" : "rows_to_assume", assumed_rows_},
      {"whole", whole()}};
}

Json SalvagedFile::facts() const {
  Json json = summary();
  json["chunk_bytes"] = chunk_bytes_;
  json["chunks"] = chunks_;
  // Holes of the file, or lost: nobody here can tell.
  Json absent = Json::array();
  for (const Range& range : absent_) {
    absent.push_back({{"first", range.first}, {"count", range.length}});
  }
  json["absent_chunks"] = std::move(absent);
  Json lost = Json::array();
  for (const Range& range : lost_ranges_) {
    lost.push_back({{"offset", range.first}, {"bytes", range.length}});
  }
  json["lost"] = std::move(lost);
  json["troubles"] = notes_;
  json["remarks"] = remarks_;
  if (cut_) json["lists_are_longer"] = true;
  return json;
}

std::string SalvagedFile::text() const {
  std::string text = fmt::format("inode-{}: {} of {} lost", inode_, format_size(lost_),
                                 format_size(stored_ + lost_));
  for (std::size_t i = 0; i < std::min<std::size_t>(3, notes_.size()); ++i) {
    const Json& note = notes_[i];
    text += fmt::format("\n  chunk {} at {}: ", note["chunk"].get<std::uint64_t>(),
                        note["chunk_index"].get<std::uint64_t>());
    if (note.contains("error")) {
      text += note["error"].get<std::string>();
      continue;
    }
    text += fmt::format("version {}, pieces {}", note["version"].get<std::uint64_t>(),
                        note["pieces"].dump());
    if (!note["older_pieces"].empty()) text += ", older " + note["older_pieces"].dump();
    if (note["contradicting_rows"] != 0) text += ", pieces that do not fit together";
    if (note.contains("without_journal")) text += ", without their journal: maybe old";
    if (note.contains("unreadable")) text += ", unreadable " + note["unreadable"].dump();
  }
  if (notes_.size() > 3) text += "\n  ...";
  return text + "\n";
}

}  // namespace cairn::admin
