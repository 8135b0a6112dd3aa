#include "admin/commands/inspect.h"

#include <fmt/format.h>
#include <unistd.h>

#include "admin/commands/inspect_run.h"
#include "admin/commands/inspect_text.h"

namespace cairn::admin {
namespace {

namespace inspect_cs = chunkserver::inspect;
namespace store = chunkserver::store;
using inspect_cs::Inspection;

constexpr const char* kWhat = "cannot inspect the repository";

std::unexpected<Failure> wrong_usage(const std::string& why) {
  return failure({.code = Code::kInvalidArgument,
                  .what = kWhat,
                  .why = why,
                  .state = {},
                  .next = "See what it takes:  cairn help inspect"});
}

Outcome<void> check_usage(const Inspect& options) {
  const bool files = !options.extract_files.empty();
  const bool looks = options.list_journal || options.list_pieces || options.check ||
                     !options.pieces.empty() || !options.extract.empty();
  if (options.repositories.size() > 1 && !files) {
    return wrong_usage("Several repositories are for --extract-files only");
  }
  if (files && looks) {
    return wrong_usage("--extract-files goes alone: it reads every piece and says what is lost");
  }
  if (!options.inodes.empty() && !files) return wrong_usage("--inode is for --extract-files");
  if (options.assume_unwritten && !files) {
    return wrong_usage("--assume-unwritten is for --extract-files");
  }
  if (options.resume && !files && options.extract.empty()) {
    return wrong_usage("--resume is for --extract and --extract-files");
  }
  for (const std::string& name : options.pieces) {
    const Result<PieceId> piece = parse_piece_name(name);
    if (!piece.has_value()) return wrong_usage(piece.error().message());
  }
  return {};
}

bool may_be_the_journal(const Error& error) {
  return error.code() == Code::kJournalFailed || error.code() == Code::kCorrupt;
}

Result<std::unique_ptr<Inspection>> open_one(const Inspect& options, const std::string& repository,
                                             bool without_journal) {
  return Inspection::open({.repository = repository,
                           .journal_directories = options.journal_directories,
                           .without_journal = without_journal});
}

// What to do about a repository that cannot be looked at.
std::string next_step(const Inspect& options, const std::string& repository, const Error& error) {
  if (error.code() == Code::kBusy) return "Stop that chunk server first.";
  if (error.code() == Code::kNotFound) {
    return "Give the directory that holds cs.conf:  cairn list-services -C";
  }
  if (!may_be_the_journal(error)) return {};
  const auto rest = open_one(options, repository, true);
  if (!rest.has_value()) {
    return "The index alone tells which block of the drive is whose: without it nothing of this "
           "repository can be read.\nThe other chunk servers have the rest of its chunks.";
  }
  const std::string place = error.code() == Code::kJournalFailed
                                ? "Name the directory where the journal is now "
                                  "(--journal-directory DIR).\nIf it is lost:  "
                                : "";
  return fmt::format(
      "{}--without-journal shows the {} pieces that the drive itself has, as they "
      "were when the journal was last committed.",
      place, (*rest)->summary().counters.pieces);
}

Outcome<std::unique_ptr<Inspection>> open_repository(const Inspect& options,
                                                     const std::string& repository) {
  // Of several, only the one that needs it goes without.
  const bool with = !options.without_journal || !options.extract_files.empty();
  Result<std::unique_ptr<Inspection>> opened = open_one(options, repository, !with);
  if (!opened.has_value() && with && options.without_journal &&
      may_be_the_journal(opened.error())) {
    opened = open_one(options, repository, true);
  }
  if (opened.has_value()) return std::move(*opened);
  const std::string next = next_step(options, repository, opened.error());
  const std::string what =
      options.repositories.size() > 1 ? "cannot inspect the repository " + repository : kWhat;
  return failure(what, opened.error(), {}, next);
}

Status list_journal(InspectRun& run, Inspection& inspection) {
  TRY_VOID(run.out().begin_list("batches"));
  bool any = false;
  TRY_VOID(inspection.for_each_batch([&](const store::Batch& batch) -> Status {
    TRY_VOID(run.go_on());
    any = true;
    TRY_VOID(run.out().item(batch_json(batch)));
    return run.out().text(batch_text(batch));
  }));
  if (!any) {
    TRY_VOID(run.out().text("The journal has nothing that the index may still need\n"));
  }
  return run.out().end_list();
}

Status list_pieces(InspectRun& run, const Inspection& inspection) {
  TRY_VOID(run.out().begin_list("pieces"));
  TRY_VOID(run.out().text(kPieceTitle));
  TRY_VOID(inspection.for_each_piece([&run](PieceId piece,
                                            const Result<store::PieceRow>& row) -> Status {
    TRY_VOID(run.go_on());
    if (!row.has_value()) {
      run.note_trouble();
      TRY_VOID(run.out().item({{"piece", piece_name(piece)}, {"error", row.error().message()}}));
      return run.out().text(fmt::format("{:<20} {}\n", piece_name(piece), row.error().message()));
    }
    TRY_VOID(run.out().item(piece_json(piece, *row)));
    return run.out().text(piece_text(piece, *row));
  }));
  return run.out().end_list();
}

Status inspect_one(InspectRun& run, Inspection& inspection) {
  const Inspect& options = run.options();
  TRY_VOID(run.out().member("schema", 1));
  TRY_VOID(run.out().member("repository", summary_json(inspection.summary())));
  TRY_VOID(run.out().text(summary_text(inspection.summary())));
  if (options.list_journal) {
    TRY_VOID(list_journal(run, inspection));
  }
  if (options.list_pieces) {
    TRY_VOID(list_pieces(run, inspection));
  }
  if (options.check || !options.extract.empty() || !options.pieces.empty()) {
    TRY_VOID(inspect_pieces(run, inspection));
  }
  return run.out().finish();
}

std::unexpected<Failure> stopped(const Inspect& options, const Error& error) {
  const std::string& directory = options.extract.empty() ? options.extract_files : options.extract;
  if (directory.empty() || ::access(directory.c_str(), F_OK) != 0) return failure(kWhat, error);
  const bool go_on = error.code() == Code::kCancelled || error.code() == Code::kNoSpace;
  return failure(kWhat, error, "What is in " + directory + " is whole",
                 go_on || error.code() == Code::kExists
                     ? "To go on there:  the same command with --resume"
                     : "");
}

}  // namespace

Outcome<Output> inspect(const Globals& globals, const Inspect& options) {
  const Outcome<void> sensible = check_usage(options);
  if (!sensible.has_value()) return failure(sensible.error());
  std::vector<std::unique_ptr<Inspection>> repositories;
  for (const std::string& repository : options.repositories) {
    Outcome<std::unique_ptr<Inspection>> opened = open_repository(options, repository);
    if (!opened.has_value()) return failure(std::move(opened).error());
    repositories.push_back(std::move(*opened));
  }
  Output output;
  ReportStream::Print print = options.print;
  if (!print) {
    print = [&output](const std::string& text) {
      output.text += text;
      return true;
    };
  }
  InspectRun run(options, globals.json, std::move(print));
  const Status done = options.extract_files.empty() ? inspect_one(run, *repositories.front())
                                                    : inspect_files(run, repositories);
  run.hide_progress();
  if (!done.has_value()) {
    ignore(run.out().flush(), "the failure is told in any case");
    return stopped(options, done.error());
  }
  output.exit_code = run.trouble() ? 1 : 0;
  return output;
}

}  // namespace cairn::admin
