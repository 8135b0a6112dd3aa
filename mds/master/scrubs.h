// Scrubs: `cairn scrub now` at the master: walks a file or a tree for its pieces, hands them to the
// chunk servers with their heartbeats, tells what was found (scrub_board.h keeps the books).
//
// Promises: start() returns at once; the walk runs beside other work in short slices. A piece whose
//           CS is offline, or turns so, is counted as unreachable. What is renamed during the walk
//           may be passed over or verified twice.
// Limits:   those of ScrubBoard; a walk keeps one page of names for each directory it is in.
// Requires: the loop thread; step() about once a second. Jobs live as long as the reign.
// Errors:   start(): kInvalidArgument (neither file nor directory), kOverloaded.
#pragma once

#include <string>
#include <vector>

#include "mds/master/cs_board.h"
#include "mds/master/environment.h"
#include "mds/master/event_writer.h"
#include "mds/master/scrub_board.h"

namespace cairn::mds::master {

class Scrubs {
 public:
  Scrubs(Environment env, const CsBoard& cs_board, EventWriter& events)
      : env_(env), cs_board_(cs_board), events_(events), board_(first_job(env.runtime)) {}

  // `target`: how people name it.
  Result<ScrubBoard::JobId> start(const pb::InodeRecord& inode, std::string target);
  // With a heartbeat of a CS: its answers, then what it shall do now.
  Status answered(std::uint32_t cs, const pb::ScrubDone& done);
  std::vector<pb::ScrubTask> tasks(std::uint32_t cs);
  void step(Instant now);

  const ScrubBoard& board() const { return board_; }

 private:
  // A directory on the way down, and where in it the walk is.
  struct Level {
    InodeId directory;
    std::string after;  // the last name seen
    bool end = false;
    std::vector<InodeId> below;  // directories of the page, not yet gone into
  };
  // Six digits for people; another number for each reign.
  static ScrubBoard::JobId first_job(runtime::Runtime& runtime) {
    return 100'000 + runtime.random() % 900'000;
  }
  static Task<void> walk(Scrubs* self, ScrubBoard::JobId job, InodeId top, bool directory);
  Task<Status> walk_tree(ScrubBoard::JobId job, InodeId top);
  Task<Status> walk_page(ScrubBoard::JobId job, Level* level);
  Task<Status> walk_file(ScrubBoard::JobId job, InodeId inode);
  Status add_chunk(ScrubBoard::JobId job, const pb::Chunk& chunk);
  // Lets others run after a slice of work.
  Task<Status> breathe();
  void tell_end(const ScrubBoard::Progress& job);

  Environment env_;
  const CsBoard& cs_board_;
  EventWriter& events_;
  ScrubBoard board_;
};

}  // namespace cairn::mds::master
