// ScrubTasks: pieces that the master wants verified now, and what came of them until it knows.
// Pure.
//
// Promises: a task that is known (waiting, begun, done and not reported) is not taken twice, so the
//           master may send it as often as it likes; results stay until reported.
// Limits:   kScrubTasksMax waiting and done together: what does not fit is not taken, the master
//           sends it again.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "proto/mds_cluster.pb.h"

namespace cairn::chunkserver::care {

inline constexpr std::size_t kScrubTasksMax = 4096;

struct ScrubJob {
  std::uint64_t job = 0;
  PieceId piece;
  friend auto operator<=>(const ScrubJob&, const ScrubJob&) = default;
};

struct ScrubResult {
  std::uint64_t blocks = 0;           // verified
  std::uint64_t damaged = 0;          // of them
  std::optional<Error> failure = {};  // not wholly verified: why
};

class ScrubTasks {
 public:
  // Answers how many were new. A task that names no possible piece is done at once, with a failure.
  std::size_t take(const std::vector<pb::ScrubTask>& tasks);
  // The oldest that waits; it is begun and stays known. Requires: none is begun.
  std::optional<ScrubJob> begin();
  void finish(ScrubResult result);
  // Back to the front of those that wait: it could not be done now.
  void postpone();

  std::vector<pb::ScrubDone> done() const;
  void reported(const std::vector<pb::ScrubDone>& done);
  bool waiting() const { return !waiting_.empty(); }

 private:
  // As the master spelled it, which may be nonsense.
  struct Key {
    std::uint64_t job = 0;
    std::uint64_t chunk = 0;
    std::uint32_t piece = 0;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  static Key key_of(const ScrubJob& job) {
    return {job.job, job.piece.chunk.raw(), job.piece.index.raw()};
  }
  bool known(const ScrubJob& job) const;

  std::deque<ScrubJob> waiting_;
  std::optional<ScrubJob> begun_;
  std::set<ScrubJob> open_;  // waiting or begun
  std::map<Key, ScrubResult> done_;
};

}  // namespace cairn::chunkserver::care
