// The directory of a write journal outside its repository, as on an SSD: one chunk server has it to
// itself. DIR/cairn-journal.owner, JSON, says which; DIR/cairn-journal is the journal.
//
// Promises: of several chunk servers one gets a directory, whatever runs at once or crashes when;
//           what was taken stays taken until it is released.
// Errors:   kBusy (another chunk server's, named), kCorrupt (the owner's file), else those of
//           durable_file.h.
#pragma once

#include <optional>
#include <string>

#include "common/base/ids.h"
#include "common/base/result.h"

namespace cairn::cluster {

inline constexpr const char* kJournalFile = "cairn-journal";
inline constexpr const char* kJournalOwnerFile = "cairn-journal.owner";

struct JournalOwner {
  std::string cluster;
  NodeId cs_id;  // not known while make-cs has no id yet: 0
  std::uint64_t repo_uuid = 0;
  std::string repository;  // for people
  friend bool operator==(const JournalOwner&, const JournalOwner&) = default;
};

// "CS 1025 of cluster 'stor1' (repository /cairn/cs1)".
std::string describe(const JournalOwner& owner);

// nullopt: nobody has it, or there is no such directory.
Result<std::optional<JournalOwner>> journal_owner(const std::string& directory);
// Makes the directory if needed. Taken by the same repo_uuid already: done. A journal without an
// owner is kBusy, too.
Status take_journal_directory(const std::string& directory, const JournalOwner& owner);
// Nothing to do when it is not this owner's, or gone.
Status release_journal_directory(const std::string& directory, std::uint64_t repo_uuid);

}  // namespace cairn::cluster
