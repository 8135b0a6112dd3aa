#include "chunkserver/care/scrub_tasks.h"

#include "common/base/check.h"
#include "common/base/limits.h"

namespace cairn::chunkserver::care {

bool ScrubTasks::known(const ScrubJob& job) const {
  return open_.contains(job) || done_.contains(key_of(job));
}

std::size_t ScrubTasks::take(const std::vector<pb::ScrubTask>& tasks) {
  std::size_t taken = 0;
  for (const pb::ScrubTask& task : tasks) {
    if (open_.size() + done_.size() >= kScrubTasksMax) break;
    const Key key{task.job(), task.piece().chunk(), task.piece().piece()};
    if (key.chunk == 0 || key.piece >= limits::kPiecesPerChunkMax) {
      done_.try_emplace(key,
                        ScrubResult{.failure = Error(Code::kInvalidArgument, "no such piece")});
      continue;
    }
    const ScrubJob job{
        key.job, {ChunkId::from_raw(key.chunk), PieceIndex(static_cast<std::uint8_t>(key.piece))}};
    if (known(job)) continue;
    open_.insert(job);
    waiting_.push_back(job);
    ++taken;
  }
  return taken;
}

std::optional<ScrubJob> ScrubTasks::begin() {
  CHECK(!begun_.has_value());
  if (waiting_.empty()) return std::nullopt;
  begun_ = waiting_.front();
  waiting_.pop_front();
  return begun_;
}

void ScrubTasks::finish(ScrubResult result) {
  CHECK(begun_.has_value());
  open_.erase(*begun_);
  done_.insert_or_assign(key_of(*begun_), std::move(result));
  begun_.reset();
}

void ScrubTasks::postpone() {
  CHECK(begun_.has_value());
  waiting_.push_front(*begun_);
  begun_.reset();
}

std::vector<pb::ScrubDone> ScrubTasks::done() const {
  std::vector<pb::ScrubDone> all;
  all.reserve(done_.size());
  for (const auto& [key, result] : done_) {
    pb::ScrubDone& one = all.emplace_back();
    one.set_job(key.job);
    one.mutable_piece()->set_chunk(key.chunk);
    one.mutable_piece()->set_piece(key.piece);
    one.set_blocks(result.blocks);
    one.set_damaged(result.damaged);
    if (result.failure.has_value()) one.set_failure(result.failure->to_string());
  }
  return all;
}

void ScrubTasks::reported(const std::vector<pb::ScrubDone>& done) {
  for (const pb::ScrubDone& one : done) {
    done_.erase(Key{one.job(), one.piece().chunk(), one.piece().piece()});
  }
}

}  // namespace cairn::chunkserver::care
