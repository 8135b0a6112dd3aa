// Duties: what the Keeper carries between the master and the chunk server it speaks for: figures
// and failures up, removals and scrubs down. A chunk server whose store did not open has them, too:
// then it has a failure from the start (SickDuties) and does nothing else.
//
// Requires: the loop thread. remove() answers when the removal is durable, or when what is there is
//           newer than `most`: that one is not meant.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/runtime/task.h"
#include "proto/mds_cluster.pb.h"

namespace cairn::chunkserver::cluster {

// Why the chunk server serves nothing, and the letter of it in its flags: H S R T.
struct Failure {
  std::string text;
  char letter = 'H';
  friend bool operator==(const Failure&, const Failure&) = default;
};

class Duties {
 public:
  virtual ~Duties() = default;
  virtual pb::CsStatistics statistics() = 0;
  virtual std::optional<Failure> failure() const = 0;
  virtual Task<Status> remove(PieceId piece, std::optional<ChunkVersion> most) = 0;
  // Pieces to verify a minute, each time the master says it; 0: none.
  virtual void set_verify_rate(std::uint32_t pieces_a_minute) = 0;
  // Verify these now. The master sends a task again until it was reported; what does not fit is
  // left to that.
  virtual void take_scrub_tasks(const std::vector<pb::ScrubTask>& tasks) = 0;
  // Results not yet reported.
  virtual std::vector<pb::ScrubDone> scrubbed() const = 0;
  // Files wait to be converted: each time the master says it.
  virtual void offer_conversion() = 0;
  // The master has these.
  virtual void scrub_reported(const std::vector<pb::ScrubDone>& reported) = 0;
};

inline constexpr std::size_t kSickScrubsMax = 4096;

// Of a chunk server that has no store. Scrubs fail at once.
class SickDuties final : public Duties {
 public:
  // `statistics` is sent as it is; the letter is added to its flags.
  explicit SickDuties(Failure failure, pb::CsStatistics statistics = {})
      : failure_(std::move(failure)), statistics_(std::move(statistics)) {
    statistics_.mutable_flags()->push_back(failure_.letter);
  }
  pb::CsStatistics statistics() override { return statistics_; }
  std::optional<Failure> failure() const override { return failure_; }
  Task<Status> remove(PieceId, std::optional<ChunkVersion>) override {
    co_return fail(Code::kDiskFailed, failure_.text);
  }
  void set_verify_rate(std::uint32_t) override {}
  void offer_conversion() override {}
  void take_scrub_tasks(const std::vector<pb::ScrubTask>& tasks) override {
    for (const pb::ScrubTask& task : tasks) {
      if (scrubs_.size() >= kSickScrubsMax) return;
      pb::ScrubDone& done = scrubs_[key_of(task)];
      done.set_job(task.job());
      *done.mutable_piece() = task.piece();
      done.set_failure(failure_.text);
    }
  }
  std::vector<pb::ScrubDone> scrubbed() const override {
    std::vector<pb::ScrubDone> all;
    for (const auto& [key, done] : scrubs_) all.push_back(done);
    return all;
  }
  void scrub_reported(const std::vector<pb::ScrubDone>& reported) override {
    for (const pb::ScrubDone& done : reported) scrubs_.erase(key_of(done));
  }

 private:
  using Key = std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>;
  template <class Message>
  static Key key_of(const Message& message) {
    return {message.job(), message.piece().chunk(), message.piece().piece()};
  }
  std::map<Key, pb::ScrubDone> scrubs_;
  Failure failure_;
  pb::CsStatistics statistics_;
};

}  // namespace cairn::chunkserver::cluster
