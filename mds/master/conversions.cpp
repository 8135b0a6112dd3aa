#include "mds/master/conversions.h"

#include <algorithm>

#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {

constexpr Duration kScanPause = 1s;
constexpr Duration kScanPauseMax = 60s;
// A scan takes at most one part in so many of the time.
constexpr std::int64_t kScanShare = 20;

}  // namespace

// ---- the table ----

Task<void> Conversions::run(Conversions* self) {
  while (!self->env_.stopping) {
    if (self->env_.runtime.now() < self->next_scan_) {
      co_await self->wake_.wait();
      continue;
    }
    const Status scanned = co_await self->scan();
    if (scanned.has_value()) continue;
    self->next_scan_ = self->env_.runtime.now() + kScanPause;
    if (self->env_.stopping) co_return;
    self->env_.log.error("files to be converted: {}", scanned.error().to_string());
  }
}

Task<Status> Conversions::scan() {
  const Instant began = env_.runtime.now();
  // Rows that are added from now on may be missed by this scan: queued() asks for another one.
  look_again_ = false;
  board_.begin_scan();
  InodeId after;
  for (;;) {
    CO_TRY(const std::vector<state::queries::Conversion> page,
           state::queries::conversions(env_.tables, after, kPage));
    const Instant now = env_.runtime.now();
    for (const state::queries::Conversion& one : page) {
      board_.saw(
          {.inode = one.inode, .to = one.record.encoding(), .since_ns = one.record.since_ns()},
          now);
    }
    if (page.size() < kPage) break;
    after = page.back().inode;
    co_await runtime::yield_turn(env_.runtime);
    if (env_.stopping) co_return Status();
  }
  board_.end_scan();
  const Instant ended = env_.runtime.now();
  // A page is nothing; more of them, again and again while a big tree is queued, would be much.
  const bool small = after.raw() == 0;
  resting_until_ =
      ended +
      (small ? Duration(0) : std::min<Duration>((ended - began) * kScanShare, kScanPauseMax));
  next_scan_ = look_again_ ? resting_until_ : std::max(resting_until_, ended + kScanPause);
  co_return Status();
}

void Conversions::queued(std::uint64_t files) {
  board_.queued(files);
  look_again_ = true;
  next_scan_ = std::min(next_scan_, std::max(resting_until_, env_.runtime.now()));
  wake_.notify_all();
}

void Conversions::step(Instant now) {
  if (now >= next_scan_) wake_.notify_all();
  tell_failures(now);
  tell_end();
}

Result<std::optional<Conversions::Row>> Conversions::row_of(InodeId inode) const {
  TRY(const std::optional<pb::ConversionRecord> record,
      state::queries::conversion(env_.tables, inode));
  if (!record.has_value()) return std::optional<Row>();
  return std::optional<Row>(
      {.inode = inode, .to = record->encoding(), .since_ns = record->since_ns()});
}

Result<std::uint64_t> Conversions::workers() const {
  return state::queries::setting(env_.tables, state::settings::kConvertWorkers);
}

// ---- converters ----

void Conversions::opened(SessionId session, std::uint32_t cs, bool before) {
  converters_[session] = cs;
  if (before) unheard_.insert(session);
}

void Conversions::ended(SessionId session) {
  const auto at = converters_.find(session);
  if (at == converters_.end()) return;
  board_.failed(
      session,
      Error(Code::kSessionGone, fmt::format("its converter, CS#{}, went away", at->second)),
      env_.runtime.now());
  unheard_.erase(session);
  converters_.erase(at);
}

bool Conversions::settling(Instant now) const {
  return parts_.in_grace() || (!unheard_.empty() && now < settled_at_);
}

Result<pb::NextConversionReply> Conversions::next(SessionId session,
                                                  const pb::NextConversion& request) {
  const auto converter = converters_.find(session);
  if (converter == converters_.end()) {
    return fail(Code::kNotPermitted, "this is no session of a converter");
  }
  const std::uint32_t cs = converter->second;
  unheard_.erase(session);
  invited_.erase(cs);
  last_worked_[cs] = env_.runtime.now();
  const InodeId inode = InodeId::from_raw(request.inode());
  const Job* job = board_.job(session);
  if (job != nullptr && job->row.inode == inode) {
    board_.progress(session, request.bytes_done(), request.bytes_total(), env_.runtime.now());
    if (request.ended()) {
      TRY_VOID(end_job(session, request));
    }
    job = board_.job(session);
  }
  if (job != nullptr) {
    TRY(const bool goes_on, may_go_on(session, *job));
    if (goes_on) return told(*job);
    board_.release(session);
    return pb::NextConversionReply();
  }
  if (inode.raw() != 0 && !request.ended()) return go_on_from_before(session, cs, inode);
  return hand_out(session, cs);
}

Status Conversions::end_job(SessionId session, const pb::NextConversion& request) {
  const Job job = *board_.job(session);
  TRY(const std::optional<Row> row, row_of(job.row.inode));
  if (job.swapped) {
    board_.release(session);
  } else if (!row.has_value()) {
    // Unlinked, or set back to the encoding it has.
    board_.release(session);
    board_.vanished(job.row.inode);
  } else if (request.has_trouble()) {
    board_.failed(session, to_error(request.trouble()), env_.runtime.now());
  } else {
    board_.failed(session,
                  Error(Code::kInternal, "its converter ended without exchanging the data"),
                  env_.runtime.now());
  }
  return {};
}

Result<bool> Conversions::may_go_on(SessionId session, const Job& job) const {
  if (job.swapped || job.swapping) return true;
  TRY(const std::uint64_t most, workers());
  TRY(const std::optional<Row> row, row_of(job.row.inode));
  return row.has_value() && same_encoding(row->to, job.row.to) && board_.within(session, most);
}

// The master before gave it this file: nobody else has it, unless that was long ago.
Result<pb::NextConversionReply> Conversions::go_on_from_before(SessionId session, std::uint32_t cs,
                                                               InodeId inode) {
  TRY(const std::uint64_t most, workers());
  TRY(const std::optional<Row> row, row_of(inode));
  if (!row.has_value() || !board_.within(session, most)) return pb::NextConversionReply();
  if (!board_.adopt(session, cs, *row, env_.runtime.now())) return pb::NextConversionReply();
  return told(*board_.job(session));
}

Result<pb::NextConversionReply> Conversions::hand_out(SessionId session, std::uint32_t cs) {
  const Instant now = env_.runtime.now();
  TRY(const std::uint64_t most, workers());
  if (settling(now) || !board_.within(session, most)) return pb::NextConversionReply();
  while (const Job* job = board_.take(session, cs, now)) {
    const InodeId inode = job->row.inode;
    const Result<std::optional<Row>> row = row_of(inode);
    board_.release(session);
    if (!row.has_value()) return fail(row.error());
    if (!row->has_value()) {
      board_.vanished(inode);
      continue;
    }
    // As the table says now: it may have been queued anew since the scan.
    CHECK(board_.adopt(session, cs, **row, now));
    return told(*board_.job(session));
  }
  return pb::NextConversionReply();
}

Status Conversions::begin_swap(SessionId session, InodeId inode) {
  if (!is_converter(session) || board_.begin_swap(session, inode)) return {};
  // The master before gave it the file, and it has not told yet.
  if (unheard_.contains(session) && !board_.busy(inode)) return {};
  return fail(Code::kBusy, "the conversion of the file was called off");
}

void Conversions::end_swap(SessionId session, InodeId inode, const pb::Attributes* file) {
  if (file == nullptr) {
    board_.swap_refused(session);
  } else if (const Job* job = board_.job(session); job != nullptr && job->row.inode == inode) {
    board_.swapped(session, inode, file->size(), env_.runtime.now());
  } else {
    board_.vanished(inode);
  }
}

pb::NextConversionReply Conversions::told(const Job& job) {
  pb::NextConversionReply reply;
  reply.set_inode(job.row.inode.raw());
  *reply.mutable_encoding() = job.row.to;
  return reply;
}

// ---- chunk servers ----

std::set<std::uint32_t> Conversions::taken(Instant now) {
  std::set<std::uint32_t> servers;
  for (const auto& [session, cs] : converters_) servers.insert(cs);
  for (auto at = invited_.begin(); at != invited_.end();) {
    const bool came = servers.contains(at->first);
    const bool over = now >= at->second;
    if (over && !came) shunned_[at->first] = now + kShunnedFor;
    at = came || over ? invited_.erase(at) : std::next(at);
  }
  for (const auto& [cs, until] : invited_) servers.insert(cs);
  std::erase_if(shunned_, [now](const auto& at) { return now >= at.second; });
  return servers;
}

// The one with less to do, in whole MiB a second; of equal ones the one that worked longer ago.
bool Conversions::is_better(const CsEntry& other, const CsEntry& asking) const {
  const Instant now = env_.runtime.now();
  const auto rank = [&](const CsEntry& entry) {
    const double load = entry.rates.per_second(now, 0) + entry.rates.per_second(now, 1);
    const auto worked = last_worked_.find(entry.record.id());
    return std::tuple(static_cast<std::uint64_t>(load / 1048576.0),
                      worked == last_worked_.end() ? Instant() : worked->second, entry.record.id());
  };
  return rank(other) < rank(asking);
}

bool Conversions::wants(std::uint32_t cs) {
  const Instant now = env_.runtime.now();
  const Result<std::uint64_t> most = workers();
  if (!most.has_value() || *most == 0 || settling(now)) return false;
  const std::uint64_t target = std::min(*most, board_.jobs().size() + board_.ready(now, *most));
  const std::set<std::uint32_t> servers = taken(now);
  if (servers.contains(cs)) return target != 0;
  const CsEntry* asking = parts_.cs_board.find(cs);
  if (servers.size() >= target || asking == nullptr || shunned_.contains(cs)) return false;
  if (parts_.cs_board.state(*asking, now) != CsState::kActive) return false;
  std::uint64_t better = 0;
  for (const auto& [id, entry] : parts_.cs_board.all()) {
    if (id == cs || servers.contains(id) || shunned_.contains(id)) continue;
    if (parts_.cs_board.state(entry, now) != CsState::kActive) continue;
    if (is_better(entry, *asking)) ++better;
  }
  if (better >= target - servers.size()) return false;
  invited_[cs] = now + kInvitedFor;
  return true;
}

}  // namespace cairn::mds::master
