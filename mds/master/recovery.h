// Recovery: makes the chunks of a lost writer whole again: begin, seal, decide, resolve, finish.
// docs/protocols/data-path.md, "When the writer is lost".
//
// A chunk that ends with fewer pieces than its minimum is for the repair (mds/master/repairs.h).
//
// Promises: recover_inode() ends well only when no chunk of the inode is open any more; it tries
//           until then. Repeating it is harmless; several who ask for one inode share the work.
// Limits:   kParallel chunks at a time.
// Errors:   kCancelled (the master stops), kTimeout (only this caller stops waiting), and those of
//           the log.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/layout/regions.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"
#include "mds/master/cs_board.h"
#include "mds/master/cs_links.h"
#include "mds/master/environment.h"
#include "mds/master/resolver.h"

namespace cairn::mds::master {

class Recovery {
 public:
  static constexpr std::uint64_t kParallel = 16;
  // `on_settled` is told each chunk that was recovered, as it is then.
  Recovery(Environment env, CsLinks& links, const CsBoard& cs_board,
           std::function<void(const pb::Chunk&)> on_settled)
      : env_(env),
        links_(links),
        cs_board_(cs_board),
        on_settled_(std::move(on_settled)),
        budget_(env.runtime, kParallel) {}

  Task<Status> recover_inode(InodeId inode, Deadline deadline = Instant::infinite());
  // Inodes under recovery, for people.
  std::size_t running() const { return running_.size(); }

 private:
  // Those who wait for one inode, by a number that is theirs.
  using Waiters = std::map<std::uint64_t, runtime::Completion<Status>>;
  // One chunk at its recovery version.
  struct Sealing {
    pb::Chunk chunk;
    std::uint64_t epoch = 0;
    std::vector<std::optional<PieceReport>> reports;  // by piece; nullopt: not reachable
    std::vector<bool> absent;                         // its CS answers, but has no such piece
    std::vector<bool> resolved;
    std::vector<OpName> forward;
    layout::RegionMask regions = 0;  // of all ops that some piece reported
  };

  static Task<void> recover_for_all(Recovery* self, InodeId inode);
  Task<Status> recover_chunks(InodeId inode);
  static Task<void> recover_one(Recovery* self, ChunkId chunk, Status* outcome);
  Task<Status> recover_chunk(ChunkId chunk);
  Task<Status> attempt(ChunkId chunk);
  static Task<void> seal_piece(Recovery* self, Sealing* sealing, unsigned piece);
  static Task<void> make_piece(Recovery* self, Sealing* sealing, unsigned piece);
  static Task<void> resolve_piece(Recovery* self, Sealing* sealing, unsigned piece);
  Task<Result<net::Payload>> call_piece(const Sealing* sealing, unsigned piece, std::uint16_t op,
                                        std::string meta);
  static std::string make_message(const Sealing& sealing, unsigned piece);
  static std::string resolve_message(const Sealing& sealing, unsigned piece);
  static unsigned usable(const Sealing& sealing);
  static std::vector<unsigned> absent_but_needed(const Sealing& sealing);
  static Status check_enough(const Sealing& sealing);
  Status decide(Sealing* sealing) const;
  static void vote(std::vector<PieceReport>* reports);
  Task<Status> finish(Sealing* sealing, std::uint32_t unreachable);
  bool never_committed(const pb::Chunk& chunk) const;

  Environment env_;
  CsLinks& links_;
  const CsBoard& cs_board_;
  const std::function<void(const pb::Chunk&)> on_settled_;
  runtime::Semaphore budget_;
  std::map<InodeId, Waiters> running_;
  std::uint64_t last_waiter_ = 0;
};

}  // namespace cairn::mds::master
