// cairn inspect --extract-files: files put together from the pieces in several repositories.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <map>
#include <span>

#include "admin/commands/inspect_file.h"
#include "admin/commands/inspect_run.h"
#include "admin/commands/inspect_text.h"
#include "admin/commands/output_file.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

namespace inspect_cs = chunkserver::inspect;
namespace store = chunkserver::store;
using inspect_cs::Inspection;
using Json = nlohmann::ordered_json;

// What is kept of each piece while the files are put together.
struct Entry {
  std::uint64_t inode = 0;
  std::uint64_t chunk_index = 0;
  std::uint64_t chunk = 0;
  std::uint16_t repository = 0;
  std::uint8_t piece = 0;
  friend auto operator<=>(const Entry&, const Entry&) = default;
};

class FilesRun {
 public:
  FilesRun(InspectRun& run, const std::vector<std::unique_ptr<Inspection>>& repositories)
      : run_(run), repositories_(repositories), options_(run.options()) {}

  Status go() {
    TRY_VOID(make_output_directory(options_.extract_files));
    TRY_VOID(run_.out().member("schema", 1));
    TRY_VOID(tell_repositories());
    TRY_VOID(run_.out().flush());
    TRY_VOID(run_.out().begin_list("files"));
    for (std::size_t i = 0; i < repositories_.size(); ++i) {
      TRY_VOID(gather(static_cast<std::uint16_t>(i)));
    }
    std::sort(entries_.begin(), entries_.end());
    for (auto first = entries_.begin(); first != entries_.end();) {
      const auto end = std::find_if(first, entries_.end(), [first](const Entry& entry) {
        return entry.inode != first->inode;
      });
      TRY_VOID(one_file({first, end}));
      first = end;
    }
    run_.hide_progress();
    TRY_VOID(run_.out().end_list());
    TRY_VOID(run_.out().member("extracted", {{"files", files_},
                                             {"files_before", before_},
                                             {"files_with_losses", with_losses_},
                                             {"files_with_assumptions", with_assumption_},
                                             {"bytes", bytes_},
                                             {"lost_bytes", lost_},
                                             {"unreadable_pieces", unreadable_}}));
    TRY_VOID(run_.out().text(verdict()));
    TRY_VOID(sync_output(options_.extract_files));
    return run_.out().finish();
  }

 private:
  Status tell_repositories() {
    TRY_VOID(run_.out().begin_list("repositories"));
    for (const std::unique_ptr<Inspection>& repository : repositories_) {
      TRY_VOID(run_.out().item(summary_json(repository->summary())));
      TRY_VOID(run_.out().text(summary_text(repository->summary())));
    }
    return run_.out().end_list();
  }

  Status gather(std::uint16_t number) {
    const auto visit = [&](PieceId piece, const Result<store::PieceRow>& row) -> Status {
      TRY_VOID(run_.step([this] { return fmt::format("{} pieces found", entries_.size()); }));
      if (!row.has_value()) {
        return trouble(fmt::format("piece {}: {}\n", piece_name(piece), row.error().message()));
      }
      const std::uint64_t inode = row->facts.inode;
      const bool wanted =
          options_.inodes.empty() ||
          std::find(options_.inodes.begin(), options_.inodes.end(), inode) != options_.inodes.end();
      if (wanted) {
        entries_.push_back(
            {inode, row->facts.chunk_index, piece.chunk.raw(), number, piece.index.raw()});
      }
      return {};
    };
    const Status walked = repositories_[number]->for_each_piece(visit);
    if (walked.has_value()) return {};
    const Code code = walked.error().code();
    if (code != Code::kCorrupt && code != Code::kDiskFailed) return walked;
    return trouble(fmt::format("{}: the index cannot be read on: {}\n",
                               repositories_[number]->summary().repository,
                               walked.error().message()));
  }

  // Pieces that are not even found: told in the text only, counted in both.
  Status trouble(const std::string& text) {
    ++unreadable_;
    run_.note_trouble();
    run_.hide_progress();
    return run_.out().text(text);
  }

  Status one_file(std::span<const Entry> entries) {
    const std::string path =
        fmt::format("{}/inode-{}", options_.extract_files, entries.front().inode);
    struct stat status = {};
    if (options_.resume && ::stat(path.c_str(), &status) == 0) {
      ++before_;
      return {};
    }
    TRY(OutputFile output, OutputFile::create(path));
    SalvagedFile file(entries.front().inode, options_.assume_unwritten, output);
    const auto progress = [&] {
      return fmt::format("inode {}, {} files, {} written, {} lost", entries.front().inode, files_,
                         format_size(bytes_ + file.stored_bytes()), format_size(lost_));
    };
    for (auto first = entries.begin(); first != entries.end();) {
      const auto end = std::find_if(first, entries.end(), [first](const Entry& entry) {
        return entry.chunk_index != first->chunk_index;
      });
      TRY_VOID(run_.step(progress));
      TRY_VOID(file.add(first->chunk_index, candidates({first, end}),
                        [&] { return run_.step(progress); }));
      first = end;
    }
    // The facts first: where the data is, they are.
    TRY(OutputFile beside, OutputFile::create(path + ".json", options_.resume));
    TRY_VOID(beside.put(0, as_bytes(file.facts().dump(2) + "\n")));
    TRY_VOID(beside.commit());
    TRY_VOID(output.commit());
    return count(file);
  }

  // Of one place in the file: chunk by chunk, the newest one first.
  std::vector<std::vector<inspect_cs::ChunkPiece>> candidates(std::span<const Entry> entries) {
    std::map<std::uint64_t, std::vector<inspect_cs::ChunkPiece>, std::greater<>> chunks;
    for (const Entry& entry : entries) {
      Inspection* const from = repositories_[entry.repository].get();
      const PieceId id{ChunkId::from_raw(entry.chunk), PieceIndex(entry.piece)};
      Result<std::optional<store::PieceRow>> row = from->row(id);
      if (!row.has_value() || !row->has_value()) continue;  // readable a moment ago
      chunks[entry.chunk].push_back({from, id, std::move(**row)});
    }
    std::vector<std::vector<inspect_cs::ChunkPiece>> sorted;
    for (auto& [chunk, pieces] : chunks) sorted.push_back(std::move(pieces));
    return sorted;
  }

  Status count(const SalvagedFile& file) {
    ++files_;
    bytes_ += file.stored_bytes();
    lost_ += file.lost_bytes();
    if (file.assumed()) {
      ++with_assumption_;
      run_.note_trouble();
    }
    if (file.whole()) {
      return run_.out().item(file.summary());
    }
    ++with_losses_;
    run_.note_trouble();
    run_.hide_progress();
    TRY_VOID(run_.out().item(file.summary()));
    TRY_VOID(run_.out().text(file.text()));
    return run_.out().flush();
  }

  std::string verdict() const {
    std::string text =
        fmt::format("{} files, {} in {}", files_, format_size(bytes_), options_.extract_files);
    if (before_ != 0) text += fmt::format("; {} were there", before_);
    text += "\n";
    if (with_losses_ != 0) {
      text += fmt::format("{} of them are not whole, {} lost: see the .json beside each\n",
                          with_losses_, format_size(lost_));
    }
    if (with_assumption_ != 0) text += assumptions();
    if (unreadable_ != 0) {
      text += fmt::format(
          "Parts of the index could not be read ({} places): pieces may be "
          "missing everywhere\n",
          unreadable_);
    }
    return text;
  }

  std::string assumptions() const {
    if (options_.assume_unwritten) {
      return fmt::format(
          "{} of them rest on the assumption that no more pieces of a chunk are lost "
          "than its code bears\n",
          with_assumption_);
    }
    return fmt::format(
        "{} of them may get more with --assume-unwritten: where pieces that nobody "
        "has were never written\n",
        with_assumption_);
  }

  InspectRun& run_;
  const std::vector<std::unique_ptr<Inspection>>& repositories_;
  const Inspect& options_;
  std::vector<Entry> entries_;
  std::uint64_t files_ = 0;
  std::uint64_t before_ = 0;
  std::uint64_t with_losses_ = 0;
  std::uint64_t with_assumption_ = 0;
  std::uint64_t unreadable_ = 0;
  ByteCount bytes_ = 0;
  ByteCount lost_ = 0;
};

}  // namespace

Status inspect_files(InspectRun& run,
                     const std::vector<std::unique_ptr<Inspection>>& repositories) {
  FilesRun work(run, repositories);
  return work.go();
}

}  // namespace cairn::admin
