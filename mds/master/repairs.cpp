#include "mds/master/repairs.h"

#include <algorithm>

#include "mds/state/keys.h"
#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {

constexpr Duration kScanPause = 1s;
constexpr Duration kScanPauseMax = 60s;
// A scan takes at most one part in so many of the time.
constexpr std::int64_t kScanShare = 20;
constexpr unsigned kBatchesAtOnce = 8;
constexpr Duration kQuiet = 2s;
constexpr Duration kLongBurst = 10s;

placement::Domain domain_of(pb::DomainLevel level) {
  return level == pb::DOMAIN_DISK ? placement::Domain::kDisk : placement::Domain::kHost;
}

std::string mebibytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / 1048576.0);
}

}  // namespace

// ---- what there is to do ----

Task<void> Repairs::run(Repairs* self) {
  while (!self->env_.stopping) {
    if (self->env_.runtime.now() >= self->next_scan_) {
      const Status scanned = co_await self->scan();
      if (!scanned.has_value() && !self->env_.stopping) {
        self->env_.log.error("chunks with missing pieces: {}", scanned.error().to_string());
      }
    }
    self->start_some();
    if (!self->env_.stopping) co_await self->wake_.wait();
  }
}

Task<Status> Repairs::scan() {
  const Instant began = env_.runtime.now();
  Scan seen;
  overflowed_ = false;
  ChunkId after;
  Status status;
  for (;;) {
    Result<std::vector<pb::Chunk>> page =
        state::queries::degraded_chunks(env_.tables, after, kPage);
    if (!page.has_value()) {
      status = fail(std::move(page).error());
      break;
    }
    const bool last = page->size() < kPage;
    if (!page->empty()) after = ChunkId::from_raw(page->back().id());
    const RepairServers known = servers(env_.runtime.now());
    for (pb::Chunk& chunk : *page) consider(std::move(chunk), known, &seen);
    start_some();
    if (last) break;
    co_await runtime::yield_turn(env_.runtime);
    if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
  }
  last_scan_ = std::move(seen);
  scan_ended_ = env_.runtime.now();
  scan_took_ = scan_ended_ - began;
  next_scan_ = scan_ended_ + std::clamp(scan_took_ * kScanShare, kScanPause, kScanPauseMax);
  co_return status;
}

Result<Repairs::Case> Repairs::case_of(pb::Chunk chunk) const {
  TRY(const pb::InodeRecord inode,
      state::queries::inode(env_.tables, InodeId::from_raw(chunk.inode())));
  Case found;
  found.request.tier = inode.policy().tier();
  found.request.domain = domain_of(inode.policy().failure_domain());
  found.request.unfit = memory_.unfit(ChunkId::from_raw(chunk.id()), is_pending(chunk));
  if (chunk.writer_epoch() != 0) found.holder = SessionId::from_raw(inode.lease_session());
  found.request.chunk = std::move(chunk);
  return found;
}

void Repairs::consider(pb::Chunk chunk, const RepairServers& servers, Scan* seen) {
  const ChunkId id = ChunkId::from_raw(chunk.id());
  const Instant now = env_.runtime.now();
  if (jobs_.contains(id)) return;
  const Result<Case> found = case_of(std::move(chunk));
  if (!found.has_value()) return;
  ++seen->chunks;
  const std::optional<RepairWait> wait = why_waiting(found->request, servers);
  if (wait.has_value()) {
    ++seen->waits[static_cast<std::size_t>(*wait)];
    return;
  }
  if (memory_.is_silent(found->holder, now)) {
    ++seen->silent;
    return;
  }
  ++seen->later;
  const RepairRank rank = *rank_of(found->request.chunk);
  if (memory_.ready(id, !rank.at_minimum, now)) add_candidate(rank, found->holder);
}

void Repairs::look_at(const pb::Chunk& chunk) {
  if (!rank_of(chunk).has_value()) return;
  Scan seen;
  consider(chunk, servers(env_.runtime.now()), &seen);
  wake_.notify_all();
}

void Repairs::add_candidate(const RepairRank& rank, SessionId holder) {
  drop_candidate(rank.chunk);
  candidates_.insert(rank);
  known_.emplace(rank.chunk, Known{.rank = rank, .holder = holder});
  if (candidates_.size() <= kCandidatesMax) return;
  overflowed_ = true;
  drop_candidate(std::prev(candidates_.end())->chunk);
}

void Repairs::drop_candidate(ChunkId chunk) {
  const auto at = known_.find(chunk);
  if (at == known_.end()) return;
  candidates_.erase(at->second.rank);
  known_.erase(at);
}

void Repairs::servers_changed() {
  next_scan_ = std::min(next_scan_, scan_ended_ + scan_took_ * 2);
  wake_.notify_all();
}

void Repairs::restarted(std::uint32_t cs) {
  memory_.forgive(cs);
  for (const auto& [chunk, job] : jobs_) {
    if (job.action.cs.raw() == cs) hang_up(job);
  }
  servers_changed();
}

void Repairs::hang_up(const Job& job) {
  if (job.phase == Phase::kCopying) links_.drop(job.address);
}

RepairServers Repairs::servers(Instant now) const {
  RepairServers servers;
  for (const placement::Candidate& candidate : parts_.cs_board.candidates(now)) {
    const std::uint32_t id = candidate.cs.raw();
    const CsEntry& entry = *parts_.cs_board.find(id);
    servers.emplace(
        id, RepairServer{.place = candidate,
                         .state = parts_.cs_board.state(entry, now),
                         .suspect = memory_.suspected(id, now),
                         .awaited = !entry.registered &&
                                    now - entry.last_seen < env_.settings.cs_inactive_after});
  }
  for (const auto& [chunk, job] : jobs_) {
    const auto at = servers.find(job.action.cs.raw());
    if (at != servers.end() && !job.slow) ++at->second.repairs;
  }
  return servers;
}

bool Repairs::removal_queued(ChunkId chunk, NodeId cs) const {
  namespace keys = state::keys;
  bool found = false;
  const std::string from = keys::removal({cs, chunk, 0});
  const std::string end = keys::removal({cs, ChunkId::from_raw(chunk.raw() + 1), 0});
  const Status scanned = env_.tables.scan(from, end, [&](std::string_view, std::string_view) {
    found = true;
    return false;
  });
  // Unknown: not there, then.
  return found || !scanned.has_value();
}

// ---- whose turn it is ----

unsigned Repairs::counted() const {
  unsigned slow = 0;
  for (const auto& [chunk, job] : jobs_) slow += job.slow ? 1 : 0;
  return static_cast<unsigned>(jobs_.size()) - std::min(slow, kSlowMax);
}

// How many chunks of each writer wait to be closed.
std::map<SessionId, unsigned> Repairs::asked_holders() const {
  std::map<SessionId, unsigned> asked;
  for (const auto& [chunk, job] : jobs_) {
    const bool asks = job.holder != SessionId() && job.phase != Phase::kCopying;
    if (asks) ++asked[job.holder];
  }
  return asked;
}

void Repairs::start_some() {
  for (unsigned i = 0; i < kBatchesAtOnce && !env_.stopping; ++i) {
    if (candidates_.empty() || counted() >= RepairLimits().chunks) break;
    if (!start_batch()) break;
  }
  // The rest of what was left out.
  if (overflowed_ && candidates_.size() < kCandidatesMax / 4) servers_changed();
}

// The most urgent candidates that may be begun, as they are now.
std::vector<Repairs::Case> Repairs::next_batch() {
  const Instant now = env_.runtime.now();
  std::vector<Case> batch;
  std::vector<ChunkId> over;
  std::map<SessionId, unsigned> asked = asked_holders();
  const auto enough = [&asked](SessionId holder) {
    const auto at = asked.find(holder);
    return at != asked.end() && at->second >= kPerHolder;
  };
  std::size_t examined = 0;
  for (const RepairRank& rank : candidates_) {
    if (batch.size() >= kBatch || examined >= kExaminedMax) break;
    if (enough(known_.at(rank.chunk).holder)) continue;
    ++examined;
    Result<pb::Chunk> chunk = state::queries::chunk(env_.tables, rank.chunk);
    const bool missing = chunk.has_value() && rank_of(*chunk).has_value();
    Result<Case> found = missing ? case_of(std::move(*chunk)) : fail(Code::kNotFound);
    const bool possible = found.has_value() && !jobs_.contains(rank.chunk) &&
                          memory_.ready(rank.chunk, !rank.at_minimum, now) &&
                          !memory_.is_silent(found->holder, now);
    if (!possible) {
      over.push_back(rank.chunk);
      continue;
    }
    if (enough(found->holder)) continue;
    if (found->holder != SessionId()) ++asked[found->holder];
    batch.push_back(std::move(*found));
  }
  for (const ChunkId chunk : over) drop_candidate(chunk);
  return batch;
}

// True: there may be more to begin.
bool Repairs::start_batch() {
  std::vector<Case> batch = next_batch();
  if (batch.empty()) return false;
  std::vector<RepairRequest> requests;
  std::map<ChunkId, const Case*> cases;
  for (const Case& one : batch) {
    requests.push_back(one.request);
    cases.emplace(ChunkId::from_raw(one.request.chunk.id()), &one);
  }
  const RepairServers known = servers(env_.runtime.now());
  const std::function<bool(ChunkId, NodeId)> queued = [this](ChunkId chunk, NodeId cs) {
    return removal_queued(chunk, cs);
  };
  RepairPlan plan = plan_repairs(requests, {.servers = known,
                                            .removal_queued = queued,
                                            .seed = env_.runtime.random(),
                                            .under_way = counted()});
  bool changed = !plan.actions.empty();
  for (const RepairPlan::Waiting& waiting : plan.waiting) {
    if (waiting.wait == RepairWait::kBusy) continue;
    // The next scan finds it again.
    drop_candidate(waiting.chunk);
    changed = true;
    if (waiting.wait == RepairWait::kNoPlace) last_scan_.why_no_place = waiting.why;
  }
  for (const RepairAction& action : plan.actions) drop_candidate(action.chunk);
  for (RepairAction& action : plan.actions) {
    const Case& of = *cases.at(action.chunk);
    begin(std::move(action), of);
  }
  return changed;
}

// ---- once a second ----

void Repairs::step(Instant now) {
  memory_.expire(now);
  for (auto& [chunk, job] : jobs_) {
    const Duration waited = now - job.since;
    if (job.phase == Phase::kHolding && waited >= kSlowAfter) job.slow = true;
    if (job.phase == Phase::kHolding && waited >= kSilentAfter && job.holder != SessionId()) {
      memory_.silent(job.holder, now);
    }
    // Its host may be gone without a word: nothing would ever break the connection.
    if (parts_.cs_board.state_of(job.action.cs.raw(), now) != CsState::kActive) hang_up(job);
  }
  tell(now);
  wake_.notify_all();
}

// One event for all that is repaired without a pause, not one for each chunk.
void Repairs::tell(Instant now) {
  if (!burst_.has_value()) return;
  if (!jobs_.empty() || !candidates_.empty()) burst_->active = now;
  if (!burst_->told && now - burst_->began >= kLongBurst) {
    burst_->told = true;
    parts_.events.write("MDS", observe::Severity::kInfo,
                        fmt::format("Missing pieces of {} chunks are under repair",
                                    last_scan_.later + jobs_.size()));
  }
  if (now - burst_->active < kQuiet) return;
  const Burst burst = std::move(*burst_);
  burst_.reset();
  if (burst.failures != 0) {
    env_.log.warning("{} repairs failed and are tried again, the last one: {}", burst.failures,
                     burst.last_failure);
  }
  if (burst.pieces == 0) return;
  std::string text = fmt::format("{} {} repaired, {} copied", burst.pieces,
                                 burst.pieces == 1 ? "missing piece was" : "missing pieces were",
                                 mebibytes(burst.bytes));
  const Progress at = progress();
  if (at.waiting != 0) text += fmt::format("; {} chunks wait: {}", at.waiting, at.why);
  parts_.events.write("MDS", observe::Severity::kInfo, std::move(text));
}

Repairs::Progress Repairs::progress() const {
  Progress progress = done_;
  progress.under_way = jobs_.size();
  progress.waiting = last_scan_.chunks;
  const auto most = std::ranges::max_element(last_scan_.waits);
  const bool holders = last_scan_.silent > *most;
  if (last_scan_.later >= *most && last_scan_.later >= last_scan_.silent) return progress;
  const RepairWait wait = static_cast<RepairWait>(most - last_scan_.waits.begin());
  progress.why = holders ? "their writers do not close them" : repair_wait_text(wait);
  if (!holders && wait == RepairWait::kNoPlace && !last_scan_.why_no_place.empty()) {
    progress.why += ": " + last_scan_.why_no_place;
  }
  return progress;
}

bool Repairs::copying(ChunkId chunk) const {
  const auto at = jobs_.find(chunk);
  return at != jobs_.end() && at->second.phase == Phase::kCopying;
}

bool Repairs::copying_to(std::uint32_t cs, ChunkId chunk, unsigned piece) const {
  const auto at = jobs_.find(chunk);
  return at != jobs_.end() && at->second.phase == Phase::kCopying &&
         at->second.action.cs.raw() == cs && at->second.action.piece == piece;
}

void Repairs::stop() { wake_.notify_all(); }

}  // namespace cairn::mds::master
