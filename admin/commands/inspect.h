// `cairn inspect`: chunk servers' repositories while their daemons do not run: what is in them, is
// it whole, its readable pieces as plain files, and whole files put together from pieces.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "admin/commands/command.h"

namespace cairn::admin {

struct Inspect {
  std::vector<std::string> repositories;         // several: extract_files only
  std::vector<std::string> journal_directories;  // --journal-directory
  bool without_journal = false;                  // --without-journal
  bool list_journal = false;                     // --journal
  bool list_pieces = false;                      // --pieces
  bool check = false;                            // --check
  std::vector<std::string> pieces;               // --piece CHUNK.PIECE
  std::string extract;                           // --extract DIR
  std::string extract_files;                     // --extract-files DIR
  std::vector<std::uint64_t> inodes;             // --inode
  bool assume_unwritten = false;                 // --assume-unwritten
  bool resume = false;                           // --resume
  // Takes the answer while it is made; false: it could not. Empty: it comes as Output::text.
  std::function<bool(const std::string& text)> print;
  // Told a few times a second what is done; an empty line: the last one. Empty: nobody looks.
  std::function<void(const std::string& line)> on_progress;
};

// Exit code 1 when something is damaged or could not be read.
Outcome<Output> inspect(const Globals& globals, const Inspect& options);

}  // namespace cairn::admin
