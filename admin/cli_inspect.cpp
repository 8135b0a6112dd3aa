#include <unistd.h>

#include <cstdio>
#include <memory>

#include "admin/cli_line.h"
#include "admin/commands/inspect.h"

namespace cairn::admin {
namespace {

bool print_out(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

// One line that is written over and over; an empty one ends it.
void show_progress(const std::string& text) {
  const std::string line = "\r\x1b[K" + text;
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

void add_salvage_options(CLI::App& command, Inspect* options) {
  command
      .add_option("--extract", options->extract,
                  "Write each readable piece to DIR/CHUNK.PIECE.data, its facts to .json")
      ->type_name("DIR");
  command
      .add_option("--extract-files", options->extract_files,
                  "Put files together from the pieces of all these repositories: DIR/inode-N")
      ->type_name("DIR");
  command
      .add_option("--inode", options->inodes,
                  "With --extract-files: only this file; may be given again")
      ->type_name("N")
      ->allow_extra_args(false);
  command.add_flag("--assume-unwritten", options->assume_unwritten,
                   "With --extract-files: take pieces that nobody has for never written where the "
                   "rest of a chunk is enough then, also where nothing is left to prove it");
  command.add_flag("--resume", options->resume,
                   "Go on in a DIR that holds part of it: what is there is not written again");
  command
      .add_option("--journal-directory", options->journal_directories,
                  "A journal outside its repository is here now; may be given again")
      ->type_name("DIR")
      ->allow_extra_args(false);
  command.add_flag("--without-journal", options->without_journal,
                   "The journal is lost: show what the drive itself has");
}

}  // namespace

void add_inspect_command(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand(
      "inspect", "Look into a chunk server's repository while its daemon does not run, salvage");
  const auto options = std::make_shared<Inspect>();
  command->add_option("repository", options->repositories, "Its directory")
      ->required()
      ->type_name("DIR");
  command->add_flag("--journal", options->list_journal, "List what the journal holds");
  command->add_flag("--pieces", options->list_pieces, "List the pieces");
  command->add_flag("--check", options->check, "Read and verify every block");
  command
      ->add_option("--piece", options->pieces,
                   "Only this piece, with its blocks; may be given again")
      ->type_name("CHUNK.PIECE")
      ->allow_extra_args(false);
  add_salvage_options(*command, options.get());
  command->callback([line, options] {
    options->print = print_out;
    if (::isatty(STDERR_FILENO) == 1) options->on_progress = show_progress;
    line->command = [line, options] { return inspect(line->globals, *options); };
  });
}

}  // namespace cairn::admin
