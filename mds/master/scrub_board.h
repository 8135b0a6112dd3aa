// ScrubBoard: the jobs of `cairn scrub now`: which pieces are to be verified by which chunk server,
// what was found. Pure memory; time enters as an argument.
//
// Life of a job: open(), add() for every piece, close(); it is done when every piece was answered,
// given up or dropped. A CS gets a window of tasks, the same again until it answered them.
// Limits:   kJobsMax jobs are remembered, finished ones make room; kPiecesMax pieces a job, and as
//           many waiting in all jobs together (8 bytes each); kWindow tasks at one CS;
//           kFindingsMax findings kept a job. A CS that answers nothing for kPatience is given up.
// Errors:   open(): kOverloaded. add(): kOverloaded, the job then has to be ended by end().
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/base/time.h"

namespace cairn::mds::master {

class ScrubBoard {
 public:
  static constexpr std::size_t kJobsMax = 16;
  static constexpr std::uint64_t kPiecesMax = 10'000'000;
  static constexpr std::size_t kWindow = 1000;
  static constexpr std::size_t kFindingsMax = 100;
  static constexpr Duration kPatience = 10min;
  using JobId = std::uint64_t;

  // What the tool is shown of a job.
  struct Progress {
    JobId job = 0;
    std::string target;
    std::uint64_t pieces = 0;  // to verify; with those that cannot be
    std::uint64_t verified = 0;
    std::uint64_t unreachable = 0;
    std::uint64_t blocks = 0;
    std::uint64_t damaged = 0;  // blocks
    std::uint64_t findings_total = 0;
    std::vector<std::string> findings;  // damage first
    std::string failure;                // it ended before everything was verified
    bool walking = true;
    bool done() const { return !walking && pieces == verified + unreachable; }
  };
  struct Task {
    JobId job = 0;
    PieceId piece;
    friend auto operator<=>(const Task&, const Task&) = default;
  };
  struct Answer {
    Task task;
    std::uint64_t inode = 0;
    std::uint64_t blocks = 0;
    std::uint64_t damaged = 0;
    std::string failure;  // it could not be verified: why
  };

  // `first`: ids of jobs begin there. Another one for each master, so that a job of the one before
  // is not taken for a job of this one.
  explicit ScrubBoard(JobId first) : next_(first) {}

  Result<JobId> open(std::string target);
  // The CS has that piece.
  Status add(JobId job, NodeId cs, PieceId piece);
  // A piece that nobody has.
  void add_missing(JobId job, std::uint64_t inode, PieceId piece);
  // All pieces were added.
  void close(JobId job);
  // Nothing more is verified for it.
  void end(JobId job, std::string why);

  // What the CS shall verify now: at most kWindow.
  std::vector<Task> hand_out(NodeId cs, Instant now);
  // One that was not handed out to this CS is passed over.
  bool awaits(NodeId cs, const Task& task) const;
  void answered(NodeId cs, const Answer& answer, Instant now);
  // The piece is not there any more, or somewhere else: it does not count.
  void dropped(NodeId cs, const Task& task, Instant now);
  // All it has and had to do counts as unreachable.
  void give_up(NodeId cs, std::string_view why);
  // CSs that have something to do.
  std::vector<NodeId> servers() const;
  // Gives up those that answer nothing.
  void expire(Instant now);

  // 0: the newest. nullopt: not known (any more).
  std::optional<Progress> progress(JobId job) const;
  std::vector<JobId> jobs() const;  // newest first
  // Those that are done and were not told of before.
  std::vector<Progress> take_finished();
  std::uint64_t waiting() const { return waiting_; }

 private:
  // A piece in 8 bytes.
  using Packed = std::uint64_t;
  static Packed pack(PieceId piece);
  static PieceId unpack(Packed packed);
  struct Queue {
    std::deque<Packed> waiting;
    std::set<Packed> out;
  };
  struct GivenUp {
    std::uint64_t pieces = 0;
    std::string why;
  };
  struct Job {
    Progress progress;  // without findings: shown() has them
    std::map<NodeId, Queue> queues;
    std::vector<std::string> damage;
    std::vector<std::string> troubles;
    std::map<NodeId, GivenUp> given_up;
    bool told = false;
  };

  Job* find(JobId job);
  static void add_finding(Job& job, std::vector<std::string>& to, std::string text);
  static Progress shown(const Job& job);
  // The oldest of those that are done; false when all are running.
  bool make_room();
  void forget_if_idle(NodeId cs);
  bool settle(NodeId cs, const Task& task, Instant now);
  bool take_next(Job& job, NodeId cs);

  JobId next_;
  std::map<JobId, Job> jobs_;
  std::uint64_t waiting_ = 0;        // in all queues, not handed out
  std::map<NodeId, Instant> heard_;  // of CSs with tasks handed out: the last answer
};

}  // namespace cairn::mds::master
