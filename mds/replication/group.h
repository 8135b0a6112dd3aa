// Group: this MDS as a member of its replicated group: drives the consensus core (mds/paxos) with
// the log store, the peers, the tables and the clock. docs/protocols/paxos.md.
//
// Owns:     Replica, Applier, the proposals that wait, transfers to and from other members.
// Promises: one durable write a batch: what arrives while one is under way goes into the next.
//           Commands are applied in the order of propose(). Between Owner::on_elected and
//           on_deposed this member is the master, as far as it knows: may_serve() and confirm() say
//           whether it surely is.
// Requires: the loop thread; start() first; co_await stop() before it dies. What it is given
//           outlives it.
// Limits:   kQueueMax commands that wait for the window, kCommandBytesMax a command.
// Errors:   start(): kCorrupt, kDiskFailed. Later failures of log or tables: Owner::on_failure,
//           once; the process must end.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "common/rpc/rpc.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"
#include "mds/paxos/replica.h"
#include "mds/replication/applier.h"
#include "mds/replication/log_format.h"
#include "mds/replication/peer_transport.h"
#include "mds/replication/replicated_log.h"
#include "proto/mds_peer.pb.h"

namespace cairn::mds::replication {

// A caller of the gRPC door of another member.
using MakeCaller = std::function<std::unique_ptr<rpc::Caller>(const net::Address&)>;

class Group final : public ReplicatedLog {
 public:
  static constexpr std::size_t kQueueMax = 16'384;
  static constexpr std::size_t kMetMax = 16;
  static constexpr ByteCount kCommandBytesMax = kRecordPayloadBytesMax - 1_KiB;

  struct Options {
    NodeId self;
    ClusterId cluster_id;
    paxos::Timing timing;
    paxos::Limits limits;
    // Of the member that founds the group; empty for one that joins.
    paxos::Membership bootstrap;
    // This member voted before, and its log is gone: no vote until what it may have promised is
    // known.
    bool log_lost = false;
    // Members are dialled here, whatever the log says: where a group was renumbered offline.
    std::map<NodeId, net::Address> addresses;
    // Whom a member dials that knows of no members yet.
    std::map<NodeId, net::Address> seeds;
    Applier::Options tables;
    ByteCount snapshot_bytes_per_s = 200_MiB;
  };

  // What a member tells of itself. None of these suspends.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_elected() = 0;
    virtual void on_deposed() = 0;
    virtual void on_membership(const paxos::Membership& membership) = 0;
    // `member` (perhaps this one) cannot catch up by log.
    virtual void on_resync(NodeId member) = 0;
    virtual void on_report(NodeId from, pb::PeerReport report) = 0;
    virtual void on_failure(const Error& error) = 0;
    // Somebody still reads the tables, for a reign that ends or has just ended: they must not be
    // replaced yet.
    virtual bool uses_tables() const { return false; }
  };

  Group(runtime::Runtime& runtime, observe::Log& log, TableVault& vault, LogStore& store,
        PeerTransport& peers, MakeCaller make_caller, Options options, Owner& owner);
  ~Group() override;

  Status start();
  // Finishes what is proposed, as far as it can be, and makes the tables durable.
  Task<Status> stop();

  Task<Result<std::string>> propose(std::string command) override;
  Task<Status> confirm() override;
  bool may_serve() const override;
  Statistics statistics() const override;

  // Puts what `edit` makes of the present members into the log; nothing when it changes nothing.
  // Errors: those of `edit`, kTimeout (another change stands in the way), those of propose().
  using Edit = std::function<Result<paxos::Membership>(const paxos::Membership&)>;
  Task<Result<paxos::Membership>> change_members(Edit edit, Deadline deadline);
  // Hands over to `to` (none: whoever is up to date) and serves nothing from now on. False: nobody
  // can.
  bool yield(NodeId to);
  void report(pb::PeerReport report);
  // A member said where it is reached. Believed only while the log does not say it.
  void met(NodeId member, const net::Address& address);

  bool leads() const { return core_ != nullptr && core_->leads(); }
  NodeId leader() const { return core_ == nullptr ? NodeId() : core_->leader(); }
  const paxos::Membership& membership() const { return core_->membership(); }
  std::vector<paxos::PeerProgress> peers() const { return core_->peers(); }
  Slot chosen() const { return core_->chosen(); }
  Slot applied_slot() const { return applier_.applied_slot(); }
  bool recovering() const { return core_->recovering(); }
  bool resyncing() const { return pulling_; }
  // Where a member is dialled; nullopt: not a member.
  std::optional<net::Address> address_of(NodeId member) const;

  struct Digest {
    bool done = false;
    Slot slot;
    std::uint32_t value = 0;
    std::string failure;
  };
  // Of a mark (pb::DigestMark); nullptr: not applied yet, or long ago.
  const Digest* digest(std::uint64_t mark) const;

 private:
  struct Waiting {
    paxos::Blob command;
    runtime::Completion<Result<std::string>> done;
  };
  struct Sending {
    std::uint64_t after_record = 0;
    paxos::SendChosen what;
    Slot last;
  };
  struct Departed {
    net::Address address;
    runtime::TimerId forget = 0;
  };
  using Answers = std::map<std::uint64_t, runtime::Completion<Result<std::string>>>;

  void receive(NodeId from, const std::string& bytes);
  void pump_soon();
  void pump();
  void submit_waiting();
  void carry_out(paxos::Effects effects);
  void send(const std::vector<paxos::Outgoing>& messages);
  void apply(std::vector<paxos::Chosen> chosen);
  void notice(const paxos::Notice& notice);
  void start_sending();
  void arm_timer();
  void answer_confirmed();
  void fail_now(const Error& error);
  void refuse_all(const Error& error);
  static Task<void> write_log(Group* self);
  Status judge_what_is_left(const LogState& state, paxos::Durable* durable) const;
  // group_peers.cpp
  void part_with_removed(const paxos::Membership& now);
  void dial();
  // group_transfer.cpp
  static Task<void> send_chosen(Group* self, paxos::SendChosen what, Slot last);
  static Task<void> cut_log(Group* self, Slot through);
  static Task<void> pull_snapshot(Group* self, NodeId from);
  Task<Status> pull_and_install(NodeId from);
  Task<Status> install();
  void take_digest(std::uint64_t mark, Slot slot);
  static Task<void> compute_digest(Group* self, std::uint64_t mark);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  TableVault& vault_;
  LogStore& store_;
  PeerTransport& transport_;
  const MakeCaller make_caller_;
  const Options options_;
  Owner& owner_;
  runtime::TaskGroup tasks_;
  Applier applier_;
  std::unique_ptr<paxos::Replica> core_;

  std::deque<Waiting> queue_;  // not yet given to the core
  Answers answers_;            // by token
  std::uint64_t last_token_ = 0;
  std::multimap<std::uint64_t, runtime::Completion<Status>> confirming_;  // by round

  std::vector<paxos::Record> records_;  // for the next write of the log
  std::uint64_t last_record_ = 0;
  std::uint64_t persisted_ = 0;  // up to this record
  runtime::Signal records_wait_;

  std::vector<paxos::Chosen> deferred_;  // chosen while the tables are being replaced
  std::set<NodeId> sending_to_;
  std::deque<Sending> to_send_;  // waits for the log
  std::map<NodeId, net::Address> met_;
  paxos::Membership known_;              // the members of the last notice
  std::map<NodeId, Departed> departed_;  // were removed a moment ago
  std::map<std::uint64_t, Digest> digests_;
  runtime::TimerId timer_ = 0;
  Instant timer_at_;
  bool pump_scheduled_ = false;
  bool pumping_ = false;
  bool installing_ = false;
  bool elected_late_ =
      false;  // elected while the tables were being replaced: the owner was not told yet
  bool pulling_ = false;
  bool stopping_ = false;
  bool failed_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks that outlive it
  Statistics statistics_;
  std::optional<Instant> busy_since_;
};

}  // namespace cairn::mds::replication
