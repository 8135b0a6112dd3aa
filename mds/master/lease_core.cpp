#include "mds/master/lease_core.h"

#include <algorithm>

#include "common/base/check.h"

namespace cairn::mds::master {

void LeaseEffects::append(LeaseEffects other) {
  recalls.insert(recalls.end(), other.recalls.begin(), other.recalls.end());
  served.insert(served.end(), other.served.begin(), other.served.end());
  to_log.insert(to_log.end(), other.to_log.begin(), other.to_log.end());
}

LeaseCore::Entry& LeaseCore::entry(InodeId inode, SessionId table_holder) {
  const auto [at, created] = inodes_.try_emplace(inode);
  if (created) at->second.exclusive = table_holder;
  return at->second;
}

void LeaseCore::add_shared(InodeId inode, Entry& entry, SessionId session) {
  entry.shared.insert(session);
  shared_of_[session].insert(inode);
}

void LeaseCore::drop_shared(InodeId inode, Entry& entry, SessionId session) {
  entry.shared.erase(session);
  entry.recalled.erase(session);
  const auto of = shared_of_.find(session);
  if (of == shared_of_.end()) return;
  of->second.erase(inode);
  if (of->second.empty()) shared_of_.erase(of);
}

// True when a conflicting holder is left.
bool LeaseCore::recall_conflicts(InodeId inode, Entry& entry, const LeaseRequest& first,
                                 LeaseEffects* effects) {
  bool conflict = false;
  const auto recall = [&](SessionId holder, pb::LeaseMode keep) {
    conflict = true;
    const auto [at, fresh] = entry.recalled.try_emplace(holder, keep);
    if (!fresh && at->second <= keep) return;
    at->second = keep;
    effects->recalls.push_back(RecallEffect{.inode = inode, .session = holder, .keep = keep});
  };
  if (entry.exclusive.valid() && entry.exclusive != first.session) {
    recall(entry.exclusive, first.want == Want::kExclusive ? pb::LEASE_NONE : pb::LEASE_SHARED);
  }
  if (first.want == Want::kExclusive) {
    for (const SessionId holder : entry.shared) {
      if (holder != first.session) recall(holder, pb::LEASE_NONE);
    }
  }
  return conflict;
}

bool LeaseCore::serve_first(InodeId inode, Entry& entry, LeaseEffects* effects) {
  const LeaseRequest first = entry.queue.front();
  if (recall_conflicts(inode, entry, first, effects)) return false;
  if (first.want == Want::kExclusive && entry.exclusive != first.session) {
    if (withheld_) return false;
    entry.granting = true;
    effects->to_log.push_back(first);
    return false;
  }
  if (first.want == Want::kShared && entry.exclusive != first.session) {
    add_shared(inode, entry, first.session);
  }
  entry.queue.pop_front();
  waiting_.erase(first.ticket);
  effects->served.push_back(first.ticket);
  return true;
}

void LeaseCore::serve(InodeId inode, LeaseEffects* effects) {
  const auto at = inodes_.find(inode);
  if (at == inodes_.end()) return;
  Entry& entry = at->second;
  while (!entry.queue.empty() && !entry.granting && entry.releasing == 0) {
    if (!serve_first(inode, entry, effects)) break;
  }
  // Nobody waits: nobody needs what was recalled, and no session must end for it.
  if (entry.queue.empty()) entry.recalled.clear();
  if (entry.queue.empty() && entry.shared.empty() && !entry.granting && entry.releasing == 0) {
    inodes_.erase(at);
  }
}

LeaseEffects LeaseCore::request(LeaseRequest request, SessionId table_holder) {
  LeaseEffects effects;
  entry(request.inode, table_holder).queue.push_back(request);
  CHECK(waiting_.emplace(request.ticket, request.inode).second);
  serve(request.inode, &effects);
  return effects;
}

LeaseEffects LeaseCore::cancel(Ticket ticket) {
  LeaseEffects effects;
  const auto waiting = waiting_.find(ticket);
  if (waiting == waiting_.end()) return effects;
  const InodeId inode = waiting->second;
  waiting_.erase(waiting);
  std::erase_if(inodes_.at(inode).queue,
                [ticket](const LeaseRequest& r) { return r.ticket == ticket; });
  serve(inode, &effects);
  return effects;
}

LeaseEffects LeaseCore::finish_grant(LeaseRequest request, SessionId table_holder) {
  LeaseEffects effects;
  Entry& at = inodes_.at(request.inode);
  CHECK(at.granting);
  at.granting = false;
  at.exclusive = table_holder;
  // An exclusive lease contains the shared one.
  if (table_holder.valid()) drop_shared(request.inode, at, table_holder);
  waiting_.erase(request.ticket);
  std::erase_if(at.queue, [&](const LeaseRequest& r) { return r.ticket == request.ticket; });
  serve(request.inode, &effects);
  return effects;
}

LeaseEffects LeaseCore::release_shared(InodeId inode, SessionId session) {
  LeaseEffects effects;
  const auto at = inodes_.find(inode);
  if (at == inodes_.end()) return effects;
  drop_shared(inode, at->second, session);
  serve(inode, &effects);
  return effects;
}

void LeaseCore::begin_release(InodeId inode, SessionId table_holder) {
  ++entry(inode, table_holder).releasing;
}

LeaseEffects LeaseCore::finish_release(InodeId inode, SessionId session, pb::LeaseMode keep,
                                       SessionId table_holder) {
  LeaseEffects effects;
  Entry& at = inodes_.at(inode);
  CHECK_GT(at.releasing, 0U);
  --at.releasing;
  const bool released = at.exclusive == session && table_holder != session;
  at.exclusive = table_holder;
  if (released) {
    at.recalled.erase(session);
    if (keep == pb::LEASE_SHARED && !table_holder.valid()) add_shared(inode, at, session);
  }
  serve(inode, &effects);
  return effects;
}

bool LeaseCore::reclaim_shared(InodeId inode, SessionId session, SessionId table_holder) {
  if (table_holder.valid() && table_holder != session) return false;
  if (table_holder == session) return true;  // the tables know the stronger one
  Entry& at = entry(inode, table_holder);
  if (at.granting) return false;
  // Whoever waits for it is served, and its recall sent, when grants are not withheld any more.
  add_shared(inode, at, session);
  return true;
}

LeaseEffects LeaseCore::end_session(SessionId session, std::vector<Ticket>* dropped) {
  LeaseEffects effects;
  std::set<InodeId> touched;
  if (const auto of = shared_of_.find(session); of != shared_of_.end()) touched = of->second;
  for (auto& [inode, at] : inodes_) {
    for (auto waiter = at.queue.begin(); waiter != at.queue.end();) {
      if (waiter->session != session) {
        ++waiter;
        continue;
      }
      dropped->push_back(waiter->ticket);
      waiting_.erase(waiter->ticket);
      waiter = at.queue.erase(waiter);
      touched.insert(inode);
    }
  }
  std::sort(dropped->begin(), dropped->end());
  for (const InodeId inode : touched) {
    drop_shared(inode, inodes_.at(inode), session);
    serve(inode, &effects);
  }
  return effects;
}

LeaseEffects LeaseCore::refresh(InodeId inode, SessionId table_holder) {
  LeaseEffects effects;
  const auto at = inodes_.find(inode);
  // While a log operation is under way its end brings the truth.
  if (at == inodes_.end() || at->second.granting || at->second.releasing != 0) return effects;
  if (at->second.exclusive != table_holder) at->second.recalled.erase(at->second.exclusive);
  at->second.exclusive = table_holder;
  serve(inode, &effects);
  return effects;
}

LeaseEffects LeaseCore::withhold_exclusive(bool withheld) {
  LeaseEffects effects;
  withheld_ = withheld;
  if (withheld) return effects;
  std::vector<InodeId> all;
  for (const auto& [inode, at] : inodes_) all.push_back(inode);
  std::sort(all.begin(), all.end());  // the order of a hash table must not decide anything
  for (const InodeId inode : all) serve(inode, &effects);
  return effects;
}

bool LeaseCore::is_recalled(InodeId inode, SessionId session, pb::LeaseMode* keep) const {
  const auto at = inodes_.find(inode);
  if (at == inodes_.end()) return false;
  const auto recalled = at->second.recalled.find(session);
  if (recalled == at->second.recalled.end()) return false;
  *keep = recalled->second;
  return true;
}

std::vector<InodeId> LeaseCore::exclusive_of(SessionId session) const {
  std::vector<InodeId> held;
  for (const auto& [inode, at] : inodes_) {
    if (at.exclusive == session) held.push_back(inode);
  }
  std::sort(held.begin(), held.end());
  return held;
}

std::uint64_t LeaseCore::shared_count(SessionId session) const {
  const auto of = shared_of_.find(session);
  return of == shared_of_.end() ? 0 : of->second.size();
}

std::vector<SessionId> LeaseCore::shared_holders(InodeId inode) const {
  const auto at = inodes_.find(inode);
  if (at == inodes_.end()) return {};
  return {at->second.shared.begin(), at->second.shared.end()};
}

std::size_t LeaseCore::waiting(InodeId inode) const {
  const auto at = inodes_.find(inode);
  return at == inodes_.end() ? 0 : at->second.queue.size();
}

}  // namespace cairn::mds::master
