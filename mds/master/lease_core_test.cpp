#include "mds/master/lease_core.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/prng.h"

namespace cairn::mds::master {
namespace {

SessionId session(std::uint64_t id) { return SessionId::from_raw(id); }
InodeId inode(std::uint64_t id) { return InodeId::from_raw(id); }
const InodeId kFile = inode(10);
const SessionId kNobody;

LeaseRequest want(Ticket ticket, std::uint64_t of, Want what) {
  return LeaseRequest{.ticket = ticket, .inode = kFile, .session = session(of), .want = what};
}

TEST(LeaseCore, LetsManyShare) {
  LeaseCore core;
  EXPECT_EQ(core.request(want(1, 1, Want::kShared), kNobody).served, std::vector<Ticket>{1});
  EXPECT_EQ(core.request(want(2, 2, Want::kShared), kNobody).served, std::vector<Ticket>{2});
  EXPECT_EQ(core.shared_holders(kFile).size(), 2U);
}

TEST(LeaseCore, RecallsEverySharedHolderForAWriter) {
  LeaseCore core;
  (void)core.request(want(1, 1, Want::kShared), kNobody);
  (void)core.request(want(2, 2, Want::kShared), kNobody);
  (void)core.request(want(3, 3, Want::kShared), kNobody);
  const LeaseEffects asked = core.request(want(4, 3, Want::kExclusive), kNobody);
  EXPECT_TRUE(asked.to_log.empty());
  EXPECT_EQ(asked.recalls, (std::vector<RecallEffect>{{kFile, session(1), pb::LEASE_NONE},
                                                      {kFile, session(2), pb::LEASE_NONE}}));
  EXPECT_TRUE(core.release_shared(kFile, session(1)).to_log.empty());
  const LeaseEffects ready = core.release_shared(kFile, session(2));
  ASSERT_EQ(ready.to_log.size(), 1U);
  EXPECT_EQ(ready.to_log[0].ticket, 4U);
  const LeaseEffects done = core.finish_grant(ready.to_log[0], session(3));
  EXPECT_TRUE(done.recalls.empty());
  EXPECT_EQ(core.shared_count(session(3)), 0U);
}

TEST(LeaseCore, ServesFirstComeFirstServed) {
  LeaseCore core;
  (void)core.request(want(1, 1, Want::kShared), kNobody);
  (void)core.request(want(2, 2, Want::kExclusive), kNobody);
  // A reader that comes later does not overtake the writer.
  EXPECT_TRUE(core.request(want(3, 3, Want::kShared), kNobody).served.empty());
  const LeaseEffects writer = core.release_shared(kFile, session(1));
  ASSERT_EQ(writer.to_log.size(), 1U);
  const LeaseEffects granted = core.finish_grant(writer.to_log[0], session(2));
  EXPECT_EQ(granted.recalls, (std::vector<RecallEffect>{{kFile, session(2), pb::LEASE_SHARED}}));
  core.begin_release(kFile, session(2));
  const LeaseEffects released = core.finish_release(kFile, session(2), pb::LEASE_SHARED, kNobody);
  EXPECT_EQ(released.served, std::vector<Ticket>{3});
  EXPECT_EQ(core.shared_holders(kFile).size(), 2U);
}

TEST(LeaseCore, LooksWaitForTheWriterButTakeNothing) {
  LeaseCore core;
  const LeaseEffects look = core.request(want(1, 2, Want::kLook), session(1));
  EXPECT_EQ(look.recalls, (std::vector<RecallEffect>{{kFile, session(1), pb::LEASE_SHARED}}));
  core.begin_release(kFile, session(1));
  EXPECT_EQ(core.finish_release(kFile, session(1), pb::LEASE_NONE, kNobody).served,
            std::vector<Ticket>{1});
  EXPECT_EQ(core.entries(), 0U);
}

TEST(LeaseCore, ServesNobodyWhileAReleaseIsInTheLog) {
  LeaseCore core;
  core.begin_release(kFile, session(1));
  // Not even the holder: what it asks now it asks after the release.
  EXPECT_TRUE(core.request(want(1, 1, Want::kExclusive), session(1)).served.empty());
  const LeaseEffects after = core.finish_release(kFile, session(1), pb::LEASE_NONE, kNobody);
  EXPECT_EQ(after.to_log.size(), 1U);
}

TEST(LeaseCore, WithholdsExclusiveGrantsAfterARestart) {
  LeaseCore core;
  EXPECT_TRUE(core.withhold_exclusive(true).to_log.empty());
  EXPECT_TRUE(core.request(want(1, 1, Want::kExclusive), kNobody).to_log.empty());
  EXPECT_FALSE(core.reclaim_shared(kFile, session(3), session(9)));
  EXPECT_TRUE(core.reclaim_shared(kFile, session(2), kNobody));
  const LeaseEffects open = core.withhold_exclusive(false);
  EXPECT_TRUE(open.to_log.empty());
  EXPECT_EQ(open.recalls, (std::vector<RecallEffect>{{kFile, session(2), pb::LEASE_NONE}}));
}

TEST(LeaseCore, ForgetsRecallsThatNobodyNeeds) {
  LeaseCore core;
  (void)core.request(want(1, 1, Want::kShared), kNobody);
  (void)core.request(want(2, 2, Want::kExclusive), kNobody);
  pb::LeaseMode keep = pb::LEASE_EXCLUSIVE;
  EXPECT_TRUE(core.is_recalled(kFile, session(1), &keep));
  EXPECT_EQ(keep, pb::LEASE_NONE);
  (void)core.cancel(2);
  EXPECT_FALSE(core.is_recalled(kFile, session(1), &keep));
}

// A world around the core: a table of exclusive holders, a log that answers late, holders that
// answer recalls late. Checks after every step that no two holders conflict, at the end that nobody
// waits.
class RandomWorld {
 public:
  explicit RandomWorld(std::uint64_t seed) : prng_(seed) {}

  void step() {
    switch (prng_.below(8)) {
      case 0:
      case 1:
      case 2:
        ask();
        break;
      case 3:
        answer_recall();
        break;
      case 4:
        finish_log();
        break;
      case 5:
        give_back();
        break;
      case 6:
        cancel();
        break;
      default:
        if (prng_.chance(30)) end_session();
        break;
    }
    check();
  }
  // No new requests: everybody answers; every waiter must be served.
  void settle() {
    for (int i = 0; i < 10'000 && (!waiting_.empty() || !log_.empty()); ++i) {
      answer_recall();
      finish_log();
      check();
    }
    EXPECT_TRUE(waiting_.empty()) << waiting_.size() << " waiters were lost";
  }

 private:
  struct LogWork {
    bool grant = false;
    LeaseRequest request;  // grant
    InodeId file;          // release
    SessionId of;
    pb::LeaseMode keep = pb::LEASE_NONE;
  };
  SessionId holder(InodeId file) const {
    const auto at = table_.find(file);
    return at == table_.end() ? SessionId() : at->second;
  }
  void carry_out(const LeaseEffects& effects) {
    for (const Ticket ticket : effects.served) serve(ticket);
    for (const LeaseRequest& request : effects.to_log)
      log_.push_back({.grant = true, .request = request, .file = {}, .of = {}});
    for (const RecallEffect& recall : effects.recalls) recalls_.push_back(recall);
  }
  void serve(Ticket ticket) {
    const LeaseRequest request = waiting_.at(ticket);
    waiting_.erase(ticket);
    // First come, first served: nobody older of that inode is left waiting.
    for (const auto& [other, waiting] : waiting_) {
      if (waiting.inode == request.inode) {
        EXPECT_GT(other, ticket);
      }
    }
    if (request.want == Want::kShared && holder(request.inode) != request.session) {
      shared_.insert({request.inode, request.session});
    }
    if (request.want == Want::kLook) {
      EXPECT_TRUE(!holder(request.inode).valid() || holder(request.inode) == request.session);
    }
  }
  void ask() {
    const LeaseRequest request{.ticket = ++last_,
                               .inode = inode(1 + prng_.below(3)),
                               .session = session(1 + prng_.below(4)),
                               .want = static_cast<Want>(prng_.below(3))};
    waiting_[request.ticket] = request;
    carry_out(core_.request(request, holder(request.inode)));
  }
  void answer_recall() {
    if (recalls_.empty()) return;
    const std::size_t at = prng_.below(recalls_.size());
    const RecallEffect recall = recalls_[at];
    recalls_.erase(recalls_.begin() + static_cast<std::ptrdiff_t>(at));
    release(recall.inode, recall.session, recall.keep);
  }
  void give_back() {
    release(inode(1 + prng_.below(3)), session(1 + prng_.below(4)), pb::LEASE_NONE);
  }
  void release(InodeId file, SessionId of, pb::LeaseMode keep) {
    if (holder(file) == of) {
      core_.begin_release(file, of);
      log_.push_back({.grant = false, .request = {}, .file = file, .of = of, .keep = keep});
      return;
    }
    if (keep != pb::LEASE_NONE) return;
    shared_.erase({file, of});
    carry_out(core_.release_shared(file, of));
  }
  void finish_log() {
    if (log_.empty()) return;
    const LogWork work = log_.front();  // the log keeps order
    log_.pop_front();
    if (work.grant) {
      const bool refused =
          holder(work.request.inode).valid() || ended_.contains(work.request.session);
      if (!refused) {
        table_[work.request.inode] = work.request.session;
        shared_.erase({work.request.inode, work.request.session});
      }
      waiting_.erase(work.request.ticket);
      carry_out(core_.finish_grant(work.request, holder(work.request.inode)));
      return;
    }
    if (holder(work.file) == work.of) {
      table_.erase(work.file);
      if (work.keep == pb::LEASE_SHARED) shared_.insert({work.file, work.of});
    }
    carry_out(core_.finish_release(work.file, work.of, work.keep, holder(work.file)));
  }
  void cancel() {
    if (waiting_.empty()) return;
    auto at = waiting_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(prng_.below(waiting_.size())));
    const Ticket ticket = at->first;
    waiting_.erase(at);
    carry_out(core_.cancel(ticket));
  }
  void end_session() {
    const SessionId of = session(1 + prng_.below(4));
    std::vector<Ticket> dropped;
    const LeaseEffects effects = core_.end_session(of, &dropped);
    for (const Ticket ticket : dropped) waiting_.erase(ticket);
    std::erase_if(shared_, [of](const auto& held) { return held.second == of; });
    carry_out(effects);
    while (!log_.empty()) finish_log();
    std::vector<InodeId> held;
    for (const auto& [file, who] : table_) {
      if (who == of) held.push_back(file);
    }
    for (const InodeId file : held) {
      table_.erase(file);
      carry_out(core_.refresh(file, SessionId()));
    }
  }
  void check() const {
    for (const auto& [file, who] : table_) {
      for (const auto& [shared_file, of] : shared_) {
        EXPECT_FALSE(shared_file == file && of != who)
            << "session " << of << " shares what " << who << " holds exclusively";
      }
    }
    for (const auto& [file, of] : shared_) {
      const std::vector<SessionId> known = core_.shared_holders(file);
      EXPECT_TRUE(std::ranges::find(known, of) != known.end() || holder(file) == of);
    }
  }

  Prng prng_;
  LeaseCore core_;
  Ticket last_ = 0;
  std::map<Ticket, LeaseRequest> waiting_;
  std::map<InodeId, SessionId> table_;
  std::set<std::pair<InodeId, SessionId>> shared_;
  std::set<SessionId> ended_;
  std::vector<RecallEffect> recalls_;
  std::deque<LogWork> log_;
};

TEST(LeaseCore, NeverLetsHoldersConflictAndLosesNoWaiter) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomWorld world(seed);
    for (int i = 0; i < 300; ++i) world.step();
    world.settle();
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace cairn::mds::master
