// cairn inspect --check, --piece, --extract: every piece of a repository, or some of them.
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "admin/commands/inspect_run.h"
#include "admin/commands/inspect_text.h"
#include "admin/commands/output_file.h"
#include "admin/view/units.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

namespace inspect_cs = chunkserver::inspect;
namespace store = chunkserver::store;
using Json = nlohmann::ordered_json;

// Of the blocks of one piece; a piece can have a million.
constexpr std::size_t kMissingRangesMax = 1000;

struct PieceResult {
  std::uint64_t damaged = 0;
  std::string why;  // of the first
  std::vector<store::BlockRange> missing;
  bool cut = false;  // there are more ranges
};

class PieceRun {
 public:
  PieceRun(InspectRun& run, inspect_cs::Inspection& inspection)
      : run_(run), inspection_(inspection), options_(run.options()) {}

  Status go() {
    if (!options_.extract.empty()) {
      TRY_VOID(make_output_directory(options_.extract));
    }
    TRY_VOID(run_.out().flush());
    TRY_VOID(run_.out().begin_list("findings"));
    if (options_.pieces.empty()) {
      TRY_VOID(all());
    } else {
      TRY_VOID(some());
    }
    run_.hide_progress();
    TRY_VOID(run_.out().end_list());
    if (!options_.pieces.empty()) {
      TRY_VOID(run_.out().member("chosen", chosen_));
    }
    TRY_VOID(run_.out().member("checked", {{"pieces", pieces_},
                                           {"blocks", blocks_},
                                           {"damaged", damaged_},
                                           {"unreadable_pieces", unreadable_},
                                           {"extracted", extracted_},
                                           {"extracted_before", before_}}));
    TRY_VOID(run_.out().text(verdict()));
    if (options_.extract.empty()) return {};
    return sync_output(options_.extract);
  }

 private:
  Status all() {
    bool own_error = false;
    const Status walked = inspection_.for_each_piece(
        [this, &own_error](PieceId piece, const Result<store::PieceRow>& row) {
          Status done = one(piece, row);
          own_error = !done.has_value();
          last_ = piece;
          return done;
        });
    // Else the index cannot be read on.
    if (walked.has_value() || own_error) return walked;
    if (walked.error().code() != Code::kCorrupt && walked.error().code() != Code::kDiskFailed) {
      return walked;
    }
    const std::string after = last_.has_value() ? "behind piece " + piece_name(*last_) : "";
    return finding({{"error", walked.error().message()}, {"pieces_not_seen", true}},
                   fmt::format("the index cannot be read {}: {}\n  the pieces there were not seen "
                               "(--piece may reach some of them)\n",
                               after, walked.error().message()));
  }

  Status some() {
    for (const std::string& name : options_.pieces) {
      TRY(const PieceId piece, parse_piece_name(name));
      Result<std::optional<store::PieceRow>> found = inspection_.row(piece);
      if (found.has_value() && !found->has_value()) {
        return fail(Code::kNotFound, "there is no piece " + name);
      }
      const Result<store::PieceRow> row =
          found.has_value() ? Result<store::PieceRow>(**found) : fail(found.error());
      TRY_VOID(one(piece, row));
    }
    return {};
  }

  Status one(PieceId piece, const Result<store::PieceRow>& row) {
    ++pieces_;
    TRY_VOID(run_.step([this] { return progress(); }));
    if (!row.has_value()) return unreadable(piece, row.error());
    if (!options_.pieces.empty()) {
      TRY_VOID(run_.out().text(kPieceTitle + piece_text(piece, *row) + ops_text(*row)));
    }
    Json facts = piece_json(piece, *row);
    if (!options_.pieces.empty() && run_.out().json()) {
      chosen_.push_back(facts);
      chosen_.back()["stored"] = Json::array();
    }
    const std::string base = fmt::format("{}/{}", options_.extract, piece_name(piece));
    std::optional<OutputFile> file;
    if (!options_.extract.empty()) {
      TRY(const bool had, is_extracted(base, facts));
      if (had) return {};
      TRY(OutputFile made, OutputFile::create(base + ".data"));
      file.emplace(std::move(made));
    }
    PieceResult result;
    const Status read = read_piece(piece, *row, &file, &result);
    if (!read.has_value()) {
      // What is about this piece alone must not end the work.
      if (read.error().code() != Code::kCorrupt) return read;
      return unreadable(piece, read.error());
    }
    if (file.has_value()) {
      TRY_VOID(keep(base, std::move(facts), result, &*file));
    }
    if (result.damaged == 0) return {};
    damaged_ += result.damaged;
    Json found{{"piece", piece_name(piece)}, {"damaged", result.damaged}, {"why", result.why}};
    found["blocks"] = ranges_json(result.missing);
    return finding(std::move(found),
                   fmt::format("piece {}: {} blocks cannot be had ({}): {}\n", piece_name(piece),
                               result.damaged, ranges_text(result.missing), result.why));
  }

  Status read_piece(PieceId piece, const store::PieceRow& row, std::optional<OutputFile>* file,
                    PieceResult* result) {
    TRY(const std::vector<std::uint32_t> segments, inspection_.segments(piece, row));
    for (const std::uint32_t segment : segments) {
      TRY_VOID(run_.step([this] { return progress(); }));
      TRY(const std::vector<store::LocatedBlock> located, inspection_.located(piece, row, segment));
      const inspect_cs::PieceBlocks read = inspection_.read(located);
      blocks_ += read.blocks.size();
      if (!options_.pieces.empty() && !file->has_value()) {
        TRY_VOID(list_blocks(located, read));
      }
      for (std::size_t i = 0; i < read.blocks.size(); ++i) {
        if (!read.missing[i].empty()) note_missing(read.blocks[i], read.missing[i], result);
      }
      if (file->has_value()) {
        TRY_VOID(put(read, &**file));
      }
    }
    return {};
  }

  // Neighbours that are there go out in one write.
  static Status put(const inspect_cs::PieceBlocks& read, OutputFile* file) {
    for (std::size_t i = 0; i < read.blocks.size();) {
      std::size_t end = i + 1;
      while (end < read.blocks.size() && read.blocks[end] == read.blocks[end - 1] + 1 &&
             read.missing[end].empty() == read.missing[i].empty()) {
        ++end;
      }
      if (read.missing[i].empty()) {
        const Bytes bytes = read.bytes.span().subspan(i * kBlockBytes, (end - i) * kBlockBytes);
        TRY_VOID(file->put(read.blocks[i] * kBlockBytes, bytes));
      } else {
        // The file is as long as if it were whole.
        TRY_VOID(file->grow((read.blocks[end - 1] + 1) * kBlockBytes));
      }
      i = end;
    }
    return {};
  }

  static void note_missing(std::uint64_t block, const std::string& why, PieceResult* result) {
    if (result->damaged++ == 0) result->why = why;
    if (!result->missing.empty() && result->missing.back().end() == block) {
      ++result->missing.back().count;
    } else if (result->missing.size() < kMissingRangesMax) {
      result->missing.push_back({block, 1});
    } else {
      result->cut = true;
    }
  }

  // True: an earlier run has written just this piece. Error: kExists (something else is there).
  Result<bool> is_extracted(const std::string& base, const Json& facts) {
    struct stat status = {};
    if (!options_.resume || ::stat((base + ".data").c_str(), &status) != 0) return false;
    TRY(const std::string text, cluster::read_small_file(base + ".json"));
    const Json there = Json::parse(text, nullptr, false);
    for (const auto& [name, value] : facts.items()) {
      if (there.is_object() && there.contains(name) && there[name] == value) continue;
      return fail(Code::kExists, base + ".data is of another state of this piece");
    }
    ++before_;
    if (there.value("missing_blocks", 0ULL) != 0) run_.note_trouble();
    return true;
  }

  // The facts first: where the data is, they are.
  Status keep(const std::string& base, Json facts, const PieceResult& result, OutputFile* file) {
    facts["missing_blocks"] = result.damaged;
    facts["missing"] = ranges_json(result.missing);
    if (result.cut) facts["missing_is_longer"] = true;
    TRY(OutputFile beside, OutputFile::create(base + ".json", options_.resume));
    TRY_VOID(beside.put(0, as_bytes(facts.dump(2) + "\n")));
    TRY_VOID(beside.commit());
    TRY_VOID(file->commit());
    ++extracted_;
    return {};
  }

  Status list_blocks(const std::vector<store::LocatedBlock>& located,
                     const inspect_cs::PieceBlocks& read) {
    for (std::size_t i = 0; i < located.size(); ++i) {
      TRY_VOID(run_.out().text(block_text(located[i], read.missing[i])));
      if (run_.out().json()) {
        chosen_.back()["stored"].push_back(block_json(located[i], read.missing[i]));
      }
    }
    return {};
  }

  Status unreadable(PieceId piece, const Error& error) {
    ++unreadable_;
    return finding({{"piece", piece_name(piece)}, {"error", error.message()}},
                   fmt::format("piece {}: the index cannot tell where it lies: {}\n",
                               piece_name(piece), error.message()));
  }

  // Seen at once, not when the last piece is done.
  Status finding(Json json, const std::string& text) {
    run_.note_trouble();
    run_.hide_progress();
    TRY_VOID(run_.out().item(std::move(json)));
    TRY_VOID(run_.out().text(text));
    return run_.out().flush();
  }

  std::string progress() const {
    const store::Counters& all = inspection_.summary().counters;
    return fmt::format("{} of {} pieces, {} of {} read, {} blocks damaged", pieces_, all.pieces,
                       format_size(blocks_ * kBlockBytes),
                       format_size(all.used_blocks * kBlockBytes), damaged_);
  }

  std::string verdict() const {
    std::string text =
        fmt::format("{} pieces, {} blocks read, {} damaged\n", pieces_, blocks_, damaged_);
    if (unreadable_ != 0) {
      text += fmt::format("{} pieces cannot be read at all\n", unreadable_);
    }
    if (options_.extract.empty()) return text;
    text += fmt::format("{} pieces extracted into {}", extracted_, options_.extract);
    if (before_ != 0) text += fmt::format(", {} were there", before_);
    return text + "\n";
  }

  InspectRun& run_;
  inspect_cs::Inspection& inspection_;
  const Inspect& options_;
  std::optional<PieceId> last_;
  Json chosen_ = Json::array();  // the pieces that were asked for, with their blocks
  std::uint64_t pieces_ = 0;
  std::uint64_t blocks_ = 0;
  std::uint64_t damaged_ = 0;
  std::uint64_t unreadable_ = 0;
  std::uint64_t extracted_ = 0;
  std::uint64_t before_ = 0;
};

}  // namespace

Status inspect_pieces(InspectRun& run, inspect_cs::Inspection& inspection) {
  PieceRun work(run, inspection);
  return work.go();
}

}  // namespace cairn::admin
