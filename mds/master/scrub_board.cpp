#include "mds/master/scrub_board.h"

#include <fmt/format.h>

#include "common/base/check.h"

namespace cairn::mds::master {

ScrubBoard::Packed ScrubBoard::pack(PieceId piece) {
  // Chunk ids count up from 1: they never come near 2^56.
  CHECK_LT(piece.chunk.raw(), 1ULL << 56);
  return piece.chunk.raw() << 8 | piece.index.raw();
}

PieceId ScrubBoard::unpack(Packed packed) {
  return {ChunkId::from_raw(packed >> 8), PieceIndex(static_cast<std::uint8_t>(packed & 0xff))};
}

ScrubBoard::Job* ScrubBoard::find(JobId job) {
  const auto at = jobs_.find(job);
  return at == jobs_.end() ? nullptr : &at->second;
}

void ScrubBoard::add_finding(Job& job, std::vector<std::string>& to, std::string text) {
  ++job.progress.findings_total;
  if (to.size() < kFindingsMax) to.push_back(std::move(text));
}

ScrubBoard::Progress ScrubBoard::shown(const Job& job) {
  Progress progress = job.progress;
  progress.findings = job.damage;
  for (const auto& [cs, gone] : job.given_up) {
    ++progress.findings_total;
    progress.findings.push_back(fmt::format("{} {} of CS {} not verified: {}", gone.pieces,
                                            gone.pieces == 1 ? "piece" : "pieces", cs.raw(),
                                            gone.why));
  }
  progress.findings.insert(progress.findings.end(), job.troubles.begin(), job.troubles.end());
  if (progress.findings.size() > kFindingsMax) progress.findings.resize(kFindingsMax);
  return progress;
}

bool ScrubBoard::make_room() {
  if (jobs_.size() < kJobsMax) return true;
  for (auto at = jobs_.begin(); at != jobs_.end(); ++at) {
    if (!at->second.progress.done()) continue;
    jobs_.erase(at);
    return true;
  }
  return false;
}

Result<ScrubBoard::JobId> ScrubBoard::open(std::string target) {
  if (!make_room()) {
    return fail(Code::kOverloaded,
                fmt::format("{} scrubs are running, the most there may be: wait for one of them "
                            "(cairn scrub status)",
                            kJobsMax));
  }
  const JobId id = next_++;
  Job& job = jobs_[id];
  job.progress.job = id;
  job.progress.target = std::move(target);
  return id;
}

Status ScrubBoard::add(JobId job_id, NodeId cs, PieceId piece) {
  Job* job = find(job_id);
  CHECK(job != nullptr);
  CHECK(job->progress.walking);
  if (job->progress.pieces >= kPiecesMax) {
    return fail(Code::kOverloaded,
                fmt::format("there are more than {} pieces: scrub the directories below one by one",
                            kPiecesMax));
  }
  if (waiting_ >= kPiecesMax) {
    return fail(Code::kOverloaded,
                fmt::format("more than {} pieces wait in all scrubs together: wait for one of "
                            "them (cairn scrub status)",
                            kPiecesMax));
  }
  ++job->progress.pieces;
  ++waiting_;
  job->queues[cs].waiting.push_back(pack(piece));
  return {};
}

void ScrubBoard::add_missing(JobId job_id, std::uint64_t inode, PieceId piece) {
  Job* job = find(job_id);
  CHECK(job != nullptr);
  ++job->progress.pieces;
  ++job->progress.unreachable;
  add_finding(
      *job, job->troubles,
      fmt::format("inode {} chunk {} piece {} is missing: it was lost, or never had a place", inode,
                  piece.chunk.raw(), piece.index.raw()));
}

void ScrubBoard::close(JobId job_id) {
  Job* job = find(job_id);
  CHECK(job != nullptr);
  job->progress.walking = false;
}

void ScrubBoard::end(JobId job_id, std::string why) {
  Job* job = find(job_id);
  CHECK(job != nullptr);
  std::vector<NodeId> touched;
  for (const auto& [cs, queue] : job->queues) {
    waiting_ -= queue.waiting.size();
    touched.push_back(cs);
  }
  job->queues.clear();
  for (const NodeId cs : touched) forget_if_idle(cs);
  job->progress.failure = std::move(why);
  job->progress.unreachable = job->progress.pieces - job->progress.verified;
  job->progress.walking = false;
}

bool ScrubBoard::take_next(Job& job, NodeId cs) {
  const auto at = job.queues.find(cs);
  if (at == job.queues.end()) return false;
  Queue& queue = at->second;
  while (!queue.waiting.empty()) {
    const Packed next = queue.waiting.front();
    queue.waiting.pop_front();
    --waiting_;
    if (queue.out.insert(next).second) return true;
    // A file that was met under two names: once is enough.
    --job.progress.pieces;
  }
  return false;
}

std::vector<ScrubBoard::Task> ScrubBoard::hand_out(NodeId cs, Instant now) {
  std::size_t out = 0;
  for (const auto& [id, job] : jobs_) {
    const auto at = job.queues.find(cs);
    if (at != job.queues.end()) out += at->second.out.size();
  }
  // The jobs in turn, so that a small one does not wait for a big one.
  for (bool more = true; more && out < kWindow;) {
    more = false;
    for (auto& [id, job] : jobs_) {
      if (out == kWindow) break;
      if (!take_next(job, cs)) continue;
      ++out;
      more = true;
    }
  }
  std::vector<Task> tasks;
  for (const auto& [id, job] : jobs_) {
    const auto at = job.queues.find(cs);
    if (at == job.queues.end()) continue;
    for (const Packed piece : at->second.out) tasks.push_back({id, unpack(piece)});
  }
  if (!tasks.empty()) heard_.try_emplace(cs, now);
  return tasks;
}

bool ScrubBoard::awaits(NodeId cs, const Task& task) const {
  const auto job = jobs_.find(task.job);
  if (job == jobs_.end() || task.piece.chunk.raw() >= 1ULL << 56) return false;
  const auto queue = job->second.queues.find(cs);
  return queue != job->second.queues.end() && queue->second.out.contains(pack(task.piece));
}

// Takes a task out of its CS's hands; false when it is not there.
bool ScrubBoard::settle(NodeId cs, const Task& task, Instant now) {
  if (!awaits(cs, task)) return false;
  Job& job = *find(task.job);
  const auto queue = job.queues.find(cs);
  queue->second.out.erase(pack(task.piece));
  if (queue->second.out.empty() && queue->second.waiting.empty()) job.queues.erase(queue);
  heard_[cs] = now;
  forget_if_idle(cs);
  return true;
}

void ScrubBoard::answered(NodeId cs, const Answer& answer, Instant now) {
  if (!settle(cs, answer.task, now)) return;
  Job& job = *find(answer.task.job);
  const std::string where =
      fmt::format("inode {} chunk {} piece {} on CS {}", answer.inode,
                  answer.task.piece.chunk.raw(), answer.task.piece.index.raw(), cs.raw());
  job.progress.blocks += answer.blocks;
  job.progress.damaged += answer.damaged;
  if (answer.damaged != 0) {
    add_finding(job, job.damage,
                fmt::format("{}: {} of {} blocks {} damaged", where, answer.damaged, answer.blocks,
                            answer.damaged == 1 ? "is" : "are"));
  }
  if (answer.failure.empty()) {
    ++job.progress.verified;
    return;
  }
  ++job.progress.unreachable;
  add_finding(job, job.troubles,
              fmt::format("{} could not be verified: {}", where, answer.failure));
}

void ScrubBoard::dropped(NodeId cs, const Task& task, Instant now) {
  if (settle(cs, task, now)) --find(task.job)->progress.pieces;
}

void ScrubBoard::give_up(NodeId cs, std::string_view why) {
  for (auto& [id, job] : jobs_) {
    const auto at = job.queues.find(cs);
    if (at == job.queues.end()) continue;
    const std::size_t left = at->second.waiting.size() + at->second.out.size();
    waiting_ -= at->second.waiting.size();
    job.queues.erase(at);
    job.progress.unreachable += left;
    GivenUp& gone = job.given_up[cs];
    gone.pieces += left;
    gone.why = why;
  }
  heard_.erase(cs);
}

std::vector<NodeId> ScrubBoard::servers() const {
  std::set<NodeId> found;
  for (const auto& [id, job] : jobs_) {
    for (const auto& [cs, queue] : job.queues) found.insert(cs);
  }
  return {found.begin(), found.end()};
}

void ScrubBoard::forget_if_idle(NodeId cs) {
  for (const auto& [id, job] : jobs_) {
    const auto at = job.queues.find(cs);
    if (at != job.queues.end() && !at->second.out.empty()) return;
  }
  heard_.erase(cs);
}

void ScrubBoard::expire(Instant now) {
  std::vector<NodeId> silent;
  for (const auto& [cs, heard] : heard_) {
    if (now - heard >= kPatience) silent.push_back(cs);
  }
  for (const NodeId cs : silent) {
    give_up(cs, fmt::format("it answered nothing for {} min", kPatience / 1min));
  }
}

std::optional<ScrubBoard::Progress> ScrubBoard::progress(JobId job) const {
  if (job == 0) {
    if (jobs_.empty()) return std::nullopt;
    return shown(jobs_.rbegin()->second);
  }
  const auto at = jobs_.find(job);
  if (at == jobs_.end()) return std::nullopt;
  return shown(at->second);
}

std::vector<ScrubBoard::JobId> ScrubBoard::jobs() const {
  std::vector<JobId> ids;
  for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at) ids.push_back(at->first);
  return ids;
}

std::vector<ScrubBoard::Progress> ScrubBoard::take_finished() {
  std::vector<Progress> finished;
  for (auto& [id, job] : jobs_) {
    if (job.told || !job.progress.done()) continue;
    job.told = true;
    finished.push_back(shown(job));
  }
  return finished;
}

}  // namespace cairn::mds::master
