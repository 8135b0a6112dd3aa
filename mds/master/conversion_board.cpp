#include "mds/master/conversion_board.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace cairn::mds::master {

namespace {

// Others were in the way, or somebody was away for a moment: the next attempt may go well.
bool is_passing(Code code) {
  switch (code) {
    case Code::kBusy:
    case Code::kTimeout:
    case Code::kUnavailable:
    case Code::kOverloaded:
    case Code::kCancelled:
    case Code::kConnectionLost:
    case Code::kSessionGone:
    case Code::kLeaseExpired:
    case Code::kStaleEpoch:
    case Code::kStaleVersion:
    case Code::kNotMaster:
    case Code::kNoMajority:
      return true;
    default:
      return false;
  }
}

bool same_row(const ConversionBoard::Row& a, const ConversionBoard::Row& b) {
  return a.since_ns == b.since_ns && same_encoding(a.to, b.to);
}

}  // namespace

bool same_encoding(const pb::Encoding& a, const pb::Encoding& b) {
  return a.data() == b.data() && a.parity() == b.parity() && a.min() == b.min();
}

// ---- the table ----

void ConversionBoard::begin_scan() {
  ++scan_;
  seen_ = 0;
  next_window_.clear();
}

void ConversionBoard::saw(const Row& row, Instant now) {
  ++seen_;
  const auto trouble = troubles_.find(row.inode);
  if (trouble != troubles_.end()) {
    trouble->second.scan = scan_;
    if (!same_row(trouble->second.row, row)) troubles_.erase(trouble);
  }
  if (!may_try(row.inode, now)) return;
  next_window_.insert_or_assign(rank_of(row), row);
  if (next_window_.size() > kWindowMax) next_window_.erase(std::prev(next_window_.end()));
}

void ConversionBoard::end_scan() {
  window_ = std::exchange(next_window_, {});
  waiting_ = seen_;
  scanned_ = true;
  std::erase_if(troubles_, [this](const auto& at) { return at.second.scan < scan_; });
}

void ConversionBoard::queued(std::uint64_t files) {
  waiting_ += files;
  seen_ += files;
}

bool ConversionBoard::may_try(InodeId inode, Instant now) const {
  const auto trouble = troubles_.find(inode);
  return trouble == troubles_.end() || now >= trouble->second.not_before;
}

bool ConversionBoard::free_and_ready(InodeId inode, Instant now) const {
  return !busy_.contains(inode) && may_try(inode, now);
}

// ---- converters ----

const ConversionBoard::Job* ConversionBoard::take(SessionId session, std::uint32_t cs,
                                                  Instant now) {
  CHECK(!jobs_.contains(session));
  for (const auto& [rank, row] : window_) {
    if (!free_and_ready(row.inode, now)) continue;
    start(session, cs, row, now);
    return job(session);
  }
  return nullptr;
}

bool ConversionBoard::adopt(SessionId session, std::uint32_t cs, const Row& row, Instant now) {
  CHECK(!jobs_.contains(session));
  if (busy_.contains(row.inode)) return false;
  start(session, cs, row, now);
  return true;
}

void ConversionBoard::start(SessionId session, std::uint32_t cs, const Row& row, Instant now) {
  jobs_.emplace(session, Job{.row = row, .cs = cs, .began = now});
  busy_.insert(row.inode);
  rate_.add(now, {bytes_copied_});
}

const ConversionBoard::Job* ConversionBoard::job(SessionId session) const {
  const auto at = jobs_.find(session);
  return at == jobs_.end() ? nullptr : &at->second;
}

void ConversionBoard::progress(SessionId session, std::uint64_t done, std::uint64_t total,
                               Instant now) {
  const auto at = jobs_.find(session);
  if (at == jobs_.end()) return;
  Job& job = at->second;
  if (done > job.bytes_done) bytes_copied_ += done - job.bytes_done;
  job.bytes_done = std::max(job.bytes_done, done);
  job.bytes_total = std::max(total, job.bytes_done);
  rate_.add(now, {bytes_copied_});
}

bool ConversionBoard::begin_swap(SessionId session, InodeId inode) {
  const auto at = jobs_.find(session);
  if (at == jobs_.end() || at->second.row.inode != inode) return false;
  at->second.swapping = true;
  return true;
}

void ConversionBoard::swap_refused(SessionId session) {
  const auto at = jobs_.find(session);
  if (at != jobs_.end()) at->second.swapping = false;
}

void ConversionBoard::swapped(SessionId session, InodeId inode, std::uint64_t bytes, Instant now) {
  const auto at = jobs_.find(session);
  if (at == jobs_.end() || at->second.row.inode != inode || at->second.swapped) return;
  // A small one is done before its converter tells how far it is.
  progress(session, bytes, bytes, now);
  Job& job = at->second;
  job.swapping = false;
  job.swapped = true;
  ++converted_;
  ++burst_.files;
  bytes_converted_ += bytes;
  burst_.bytes += bytes;
  troubles_.erase(inode);
  drop(inode);
}

void ConversionBoard::release(SessionId session) {
  const auto at = jobs_.find(session);
  if (at == jobs_.end()) return;
  busy_.erase(at->second.row.inode);
  jobs_.erase(at);
}

void ConversionBoard::failed(SessionId session, const Error& why, Instant now) {
  const auto at = jobs_.find(session);
  if (at == jobs_.end()) return;
  const Job job = at->second;
  release(session);
  if (job.swapped) return;
  Trouble& trouble = troubles_[job.row.inode];
  ++trouble.failures;
  trouble.wait = trouble.failures == 1 ? kWaitFirst : std::min(trouble.wait * 2, kWaitMost);
  trouble.not_before = now + trouble.wait;
  trouble.row = job.row;
  trouble.why = why.message().empty() ? std::string(code_name(why.code())) : why.message();
  trouble.scan = scan_;
  if (!is_passing(why.code()) || trouble.failures >= kToldAfter) trouble.tell = true;
  forget_surplus_trouble();
}

void ConversionBoard::vanished(InodeId inode) {
  troubles_.erase(inode);
  drop(inode);
}

void ConversionBoard::drop(InodeId inode) {
  const auto is_it = [inode](const auto& at) { return at.second.inode == inode; };
  std::erase_if(next_window_, is_it);
  // Only what the last scan counted: 0 must not be said while a file waits.
  const bool counted = std::erase_if(window_, is_it) != 0;
  if (counted && waiting_ != 0) --waiting_;
}

void ConversionBoard::forget_surplus_trouble() {
  if (troubles_.size() <= kTroublesMax) return;
  const auto soonest =
      std::ranges::min_element(troubles_, {}, [](const auto& at) { return at.second.not_before; });
  troubles_.erase(soonest);
}

bool ConversionBoard::within(SessionId session, std::uint64_t workers) const {
  const Job* own = job(session);
  if (own == nullptr) return jobs_.size() < workers;
  if (own->swapped || own->swapping) return true;
  const auto before = std::ranges::count_if(jobs_, [&](const auto& at) {
    return std::tuple(at.second.began, at.first) < std::tuple(own->began, session);
  });
  return static_cast<std::uint64_t>(before) < workers;
}

// ---- what people and heartbeats are told ----

ConversionBoard::Totals ConversionBoard::totals(Instant now) const {
  std::uint64_t under_way = 0;
  for (const auto& [session, job] : jobs_) under_way += job.swapped ? 0 : 1;
  // Until the first scan has ended it is all that is known.
  const std::uint64_t known = scanned_ ? waiting_ : seen_;
  return {.waiting = std::max(known, under_way),
          .under_way = under_way,
          .converted = converted_,
          .bytes_converted = bytes_converted_,
          .bytes_per_second = rate_.per_second(now, 0)};
}

std::uint64_t ConversionBoard::ready(Instant now, std::uint64_t limit) const {
  std::uint64_t count = 0;
  for (auto at = window_.begin(); at != window_.end() && count < limit; ++at) {
    if (free_and_ready(at->second.inode, now)) ++count;
  }
  return count;
}

std::vector<ConversionBoard::Told> ConversionBoard::take_untold() {
  std::vector<Told> untold;
  for (auto& [inode, trouble] : troubles_) {
    if (!trouble.tell || trouble.told) continue;
    trouble.told = true;
    untold.push_back({.inode = inode, .to = trouble.row.to, .why = trouble.why});
  }
  return untold;
}

std::optional<ConversionBoard::Burst> ConversionBoard::take_ended_burst() {
  if (waiting_ != 0 || burst_.files == 0) return std::nullopt;
  return std::exchange(burst_, {});
}

}  // namespace cairn::mds::master
