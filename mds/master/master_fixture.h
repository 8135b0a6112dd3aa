// A master, fake clients and fake chunk servers over MemNetwork on virtual time. For tests of this
// folder.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <optional>

#include "common/net/mem_network.h"
#include "mds/master/master.h"
#include "mds/state/invariants.h"
#include "mds/state/machine.h"
#include "mds/testing/solo_group.h"
#include "mds/testing/virtual_runtime.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

using mds::testing::Outcome;
using mds::testing::VirtualRuntime;
using Answer = Result<pb::ClientReply>;

inline const net::Address kDoor{.host = "10.0.0.1", .port = 2511};
inline const net::Credentials kCredentials{.cluster = "test", .key = "secret"};

// One connection of a client. Recalls and holds are kept; a test answers them.
class FakeClient {
 public:
  FakeClient(VirtualRuntime& runtime, runtime::TaskGroup& group, net::Network& network,
             std::string process, net::Address master = kDoor)
      : runtime_(runtime),
        group_(group),
        network_(network),
        process_(std::move(process)),
        master_(std::move(master)) {}
  ~FakeClient() { disconnect(); }

  void connect() {
    Outcome<Result<std::unique_ptr<net::Channel>>> made(
        group_, net::connect_channel(runtime_, network_, master_, kCredentials, handler(),
                                     runtime_.after(5s)));
    ASSERT_TRUE(runtime_.run_until([&] { return made.done(); }, 10s));
    ASSERT_TRUE(made.value().has_value()) << made.value().error().to_string();
    channel_ = std::move(*made.value());
  }
  void disconnect() {
    if (channel_ == nullptr) return;
    channel_->close();
    group_.spawn(hold(std::shared_ptr<net::Channel>(std::move(channel_))));
    runtime_.run_for(10ms);
  }
  pb::OpenSessionReply open(std::uint64_t resume = 0) {
    pb::ClientRequest request;
    request.mutable_open_session()->set_protocol(1);
    request.mutable_open_session()->set_host_id(7);
    request.mutable_open_session()->set_host("host");
    request.mutable_open_session()->set_process(process_);
    request.mutable_open_session()->set_resume(resume);
    request.mutable_open_session()->set_converter(converter);
    Answer answer = call(request);
    EXPECT_TRUE(answer.has_value()) << (answer.has_value() ? "" : answer.error().to_string());
    if (!answer.has_value()) return {};
    session = answer->open_session().session();
    return answer->open_session();
  }
  Outcome<Answer> begin(pb::ClientRequest request) {
    if (request.session() == 0) request.set_session(session);
    return {group_, send(channel_.get(), std::move(request), runtime_.after(300s))};
  }
  // A mutation with the next sequence number.
  Outcome<Answer> begin_mutation(pb::ClientRequest request) {
    request.set_seq(++seq);
    request.set_answered_below(seq > 100 ? seq - 100 : 1);
    return begin(std::move(request));
  }
  Answer call(pb::ClientRequest request) { return finish(begin(std::move(request))); }
  Answer mutate(pb::ClientRequest request) { return finish(begin_mutation(std::move(request))); }
  Answer finish(Outcome<Answer> outcome) {
    EXPECT_TRUE(runtime_.run_until([&] { return outcome.done(); }, 290s));
    if (!outcome.done()) return fail(Code::kTimeout);
    return outcome.value();
  }

  // Creates a file of the root and holds it exclusively.
  pb::MakeNodeReply create(const std::string& name) {
    pb::ClientRequest request;
    pb::MakeNode* make = request.mutable_make_node();
    make->set_parent(1);
    make->set_name(name);
    make->set_type(pb::TYPE_REGULAR);
    make->set_mode(0644);
    make->set_exclusive_lease(true);
    make->set_pin(1);
    Answer answer = mutate(std::move(request));
    EXPECT_TRUE(answer.has_value() && answer->error().code() == 0);
    return answer.has_value() ? answer->make_node() : pb::MakeNodeReply();
  }
  static pb::ClientRequest lookup(const std::string& name) {
    pb::ClientRequest request;
    request.mutable_lookup()->set_parent(1);
    request.mutable_lookup()->set_name(name);
    return request;
  }
  static pb::ClientRequest acquire(std::uint64_t inode, pb::LeaseMode mode) {
    pb::ClientRequest request;
    request.mutable_acquire_lease()->set_inode(inode);
    request.mutable_acquire_lease()->set_mode(mode);
    return request;
  }
  static pb::ClientRequest release(const pb::RecallLease& recall, std::uint64_t size = 0) {
    pb::ClientRequest request;
    request.mutable_release_lease()->set_inode(recall.inode());
    request.mutable_release_lease()->set_keep(recall.keep());
    request.mutable_release_lease()->set_epoch(recall.epoch());
    if (size != 0) request.mutable_release_lease()->mutable_update()->set_size(size);
    return request;
  }
  static pb::ClientRequest open_chunk(std::uint64_t inode, std::uint64_t epoch,
                                      std::uint32_t touch) {
    pb::ClientRequest request;
    request.mutable_open_chunk()->set_inode(inode);
    request.mutable_open_chunk()->set_epoch(epoch);
    request.mutable_open_chunk()->set_touch(touch);
    return request;
  }
  static pb::ClientRequest close_chunk(const pb::HoldChunk& hold, std::uint64_t next_seq) {
    pb::ClientRequest request;
    request.mutable_close_chunk()->set_inode(hold.inode());
    request.mutable_close_chunk()->set_epoch(hold.epoch());
    request.mutable_close_chunk()->set_chunk(hold.chunk());
    request.mutable_close_chunk()->set_next_seq(next_seq);
    return request;
  }
  static pb::ClientRequest drop_pieces(const pb::Chunk& chunk, std::uint64_t epoch,
                                       std::uint32_t pieces, std::uint64_t regions) {
    pb::ClientRequest request;
    request.mutable_drop_pieces()->set_inode(chunk.inode());
    request.mutable_drop_pieces()->set_epoch(epoch);
    request.mutable_drop_pieces()->set_chunk(chunk.id());
    request.mutable_drop_pieces()->set_version(chunk.version());
    request.mutable_drop_pieces()->set_pieces(pieces);
    request.mutable_drop_pieces()->set_regions(regions);
    return request;
  }
  bool connected() const { return channel_ != nullptr && channel_->is_open(); }

  std::uint64_t session = 0;
  std::uint64_t seq = 0;
  std::uint32_t converter = 0;  // of that chunk server, from the next open() on
  std::deque<pb::RecallLease> recalls;
  std::deque<pb::HoldChunk> holds;

 private:
  net::Channel::Handler handler() {
    return [this](std::uint16_t op, net::Payload request) {
      if (op == pb::OP_RECALL_LEASE) {
        pb::RecallLease recall;
        EXPECT_TRUE(recall.ParseFromString(request.meta));
        recalls.push_back(recall);
      } else if (op == pb::OP_HOLD_CHUNK) {
        pb::HoldChunk hold;
        EXPECT_TRUE(hold.ParseFromString(request.meta));
        holds.push_back(hold);
      }
      return received();
    };
  }
  static Task<Result<net::Payload>> received() { co_return net::Payload(); }
  static Task<void> hold(std::shared_ptr<net::Channel> channel) { co_await channel->closed(); }
  static Task<Answer> send(net::Channel* channel, pb::ClientRequest request, Deadline deadline) {
    net::Payload payload;
    payload.meta = request.SerializeAsString();
    Result<net::Payload> answer =
        co_await channel->call(pb::OP_CLIENT_REQUEST, std::move(payload), deadline);
    if (!answer.has_value()) co_return fail(answer.error());
    pb::ClientReply reply;
    if (!reply.ParseFromString(answer->meta)) co_return fail(Code::kProtocol);
    co_return reply;
  }

  VirtualRuntime& runtime_;
  runtime::TaskGroup& group_;
  net::Network& network_;
  const std::string process_;
  const net::Address master_;
  std::unique_ptr<net::Channel> channel_;
};

// Answers Seal and Resolve from a list of undecided ops per piece, and repairs as it is told. By
// chunk, any number of pieces.
class FakeCs {
 public:
  FakeCs(VirtualRuntime& runtime, runtime::TaskGroup& group, net::MemNetwork& network,
         net::Address address)
      : runtime_(runtime), group_(group), network_(network), address_(std::move(address)) {
    start();
  }
  ~FakeCs() { stop(); }
  void start() {
    auto listener = network_.listen(address_, [this](std::unique_ptr<net::Stream> stream) {
      group_.spawn(serve(this, std::move(stream)));
    });
    ASSERT_TRUE(listener.has_value());
    listener_ = std::move(*listener);
  }
  void stop() {
    if (listener_ != nullptr) listener_->close();
    listener_.reset();
    for (const std::shared_ptr<net::Channel>& channel : open_) channel->close();
    runtime_.run_for(10ms);
    open_.clear();
  }
  const net::Address& address() const { return address_; }

  std::vector<pb::SealReply::Undecided> undecided;
  std::vector<pb::Seal> seals;
  std::vector<pb::Resolve> resolves;
  std::vector<pb::Prepare> prepares;
  bool absent = false;    // it never heard of the piece
  bool resolving = true;  // else a Resolve is done and never answered
  std::vector<pb::Repair> repairs;
  std::deque<Code> repair_errors;  // of the next repairs
  Duration repair_time{0};
  std::function<void(const pb::Repair&)> on_repaired;
  bool silent = false;  // it answers nothing, for a long time

 private:
  void carry_out(const pb::Resolve& resolve) {
    std::vector<pb::SealReply::Undecided> kept;
    for (pb::SealReply::Undecided& held : undecided) {
      for (const pb::Resolve::OpId& op : resolve.forward()) {
        if (op.epoch() != held.epoch() || op.seq() != held.seq()) continue;
        held.set_forwarded(true);
        kept.push_back(held);
      }
    }
    undecided = std::move(kept);
  }
  static Task<void> serve(FakeCs* self, std::unique_ptr<net::Stream> stream) {
    net::Channel::Handler handler = [self](std::uint16_t op, net::Payload request) {
      return answer(self, op, std::move(request));
    };
    auto made = co_await net::accept_channel(self->runtime_, std::move(stream), kCredentials,
                                             std::move(handler), self->runtime_.after(5s));
    if (!made.has_value()) co_return;
    std::shared_ptr<net::Channel> channel(std::move(*made));
    self->open_.push_back(channel);
    co_await channel->closed();
  }
  static Task<Result<net::Payload>> answer(FakeCs* self, std::uint16_t op, net::Payload request) {
    net::Payload payload;
    if (self->silent) co_await runtime::sleep_for(self->runtime_, 1min);
    if (op == pb::OP_PING) co_return payload;
    if (op == pb::OP_REPAIR) {
      Result<net::Payload> repaired = co_await repair(self, std::move(request));
      co_return repaired;
    }
    if (op == pb::OP_SEAL && self->absent) co_return fail(Code::kPieceMissing);
    if (op == pb::OP_PREPARE) {
      pb::Prepare prepare;
      EXPECT_TRUE(prepare.ParseFromString(request.meta));
      self->prepares.push_back(prepare);
      self->absent = false;
    } else if (op == pb::OP_SEAL) {
      pb::Seal seal;
      EXPECT_TRUE(seal.ParseFromString(request.meta));
      self->seals.push_back(seal);
      pb::SealReply reply;
      for (const auto& held : self->undecided) *reply.add_undecided() = held;
      payload.meta = reply.SerializeAsString();
    } else if (op == pb::OP_RESOLVE) {
      pb::Resolve resolve;
      EXPECT_TRUE(resolve.ParseFromString(request.meta));
      self->resolves.push_back(resolve);
      self->carry_out(resolve);
      if (!self->resolving) co_return fail(Code::kUnavailable);
    } else {
      co_return fail(Code::kUnsupported);
    }
    co_return payload;
  }

  static Task<Result<net::Payload>> repair(FakeCs* self, net::Payload request) {
    pb::Repair repair;
    EXPECT_TRUE(repair.ParseFromString(request.meta));
    self->repairs.push_back(repair);
    const Instant end = self->runtime_.now() + self->repair_time;
    while (self->runtime_.now() < end && self->listener_ != nullptr) {
      co_await runtime::sleep_until(self->runtime_, std::min(end, self->runtime_.after(10ms)));
    }
    if (!self->repair_errors.empty()) {
      const Code code = self->repair_errors.front();
      self->repair_errors.pop_front();
      co_return fail(code, "as the test says");
    }
    if (self->listener_ == nullptr) co_return fail(Code::kCancelled, "it stops");
    if (self->on_repaired) self->on_repaired(repair);
    pb::RepairReply reply;
    reply.set_next_seq(repair.first_seq() + 10);
    reply.set_bytes_written(4096);
    net::Payload payload;
    payload.meta = reply.SerializeAsString();
    co_return payload;
  }

  VirtualRuntime& runtime_;
  runtime::TaskGroup& group_;
  net::MemNetwork& network_;
  const net::Address address_;
  std::unique_ptr<net::Listener> listener_;
  std::vector<std::shared_ptr<net::Channel>> open_;
};

class MasterTest : public ::testing::Test {
 protected:
  MasterTest() { start(); }
  ~MasterTest() override {
    clients_.clear();
    stop();
    servers_.clear();
    runtime_.run_for(10s);
    EXPECT_EQ(group_.running(), 0U);
  }

  void start() {
    Master::Options options;
    options.settings.cluster = "test";
    options.settings.cluster_id = ClusterId::from_raw(42);
    options.settings.credentials = kCredentials;
    commands_ = std::make_unique<testing::SoloGroup>(runtime_, *log_, vault_, store_);
    commands_->start();
    master_ =
        std::make_unique<Master>(runtime_, network_, *log_, tables_, commands_->group(), options);
    const Status started = master_->start();
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    Outcome<Status> ready(group_, master_->ready());
    ASSERT_TRUE(runtime_.run_until([&] { return ready.done(); }, 10s));
    ASSERT_TRUE(ready.value().has_value()) << ready.value().error().to_string();
    auto listener = network_.listen(
        kDoor, [this](std::unique_ptr<net::Stream> stream) { master_->accept(std::move(stream)); });
    ASSERT_TRUE(listener.has_value());
    listener_ = std::move(*listener);
    runtime_.run_for(50ms);
  }
  void stop() {
    if (master_ == nullptr) return;
    listener_->close();
    listener_.reset();
    runtime::TaskGroup stopping(runtime_);
    stopping.spawn(master_->stop());
    ASSERT_TRUE(runtime_.run_until([&] { return stopping.running() == 0; }, 30s))
        << "the master hangs";
    master_.reset();
    commands_->stop();
    commands_.reset();
  }
  FakeClient& client(const std::string& process) {
    clients_.push_back(std::make_unique<FakeClient>(runtime_, group_, network_, process));
    clients_.back()->connect();
    clients_.back()->open();
    return *clients_.back();
  }
  // Chunk servers 1025.. on hosts of their own, registered and alive.
  void add_servers(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const net::Address address{.host = "10.0.1." + std::to_string(i + 1), .port = 3000};
      servers_.push_back(std::make_unique<FakeCs>(runtime_, group_, network_, address));
      pb::Command add;
      add.mutable_add_cs()->mutable_request()->set_repo_uuid(100 + i);
      add.mutable_add_cs()->mutable_request()->set_host_id(200 + i);
      run(std::move(add));
    }
    register_servers();
  }
  void register_servers() {
    for (unsigned i = 0; i < servers_.size(); ++i) {
      pb::CsRecord record;
      record.set_id(1025 + i);
      record.set_repo_uuid(100 + i);
      record.set_host_id(200 + i);
      record.set_host("cs-host");
      record.set_address(servers_[i]->address().to_string());
      master_->cs_board().put(record, runtime_.now());
      master_->cs_board().registered(1025 + i, {.version = "test"}, runtime_.now());
      heartbeat(1025 + i);
    }
  }
  void heartbeat(std::uint32_t cs) {
    pb::CsStatistics statistics;
    statistics.set_space_bytes(100_GiB);
    statistics.set_free_bytes(60_GiB);
    master_->cs_board().heartbeat(cs, statistics, {}, runtime_.now());
  }
  void set_root_encoding(unsigned data, unsigned parity, unsigned min) {
    pb::Command command;
    pb::SetPolicyCommand* set = command.mutable_set_policy();
    set->add_inodes(1);
    set->mutable_policy()->mutable_encoding()->set_data(data);
    set->mutable_policy()->mutable_encoding()->set_parity(parity);
    set->mutable_policy()->mutable_encoding()->set_min(min);
    run(std::move(command));
  }
  pb::CommandReply run(pb::Command command) {
    Outcome<Result<pb::CommandReply>> done(group_,
                                           master_->environment().commands.run(std::move(command)));
    EXPECT_TRUE(runtime_.run_until([&] { return done.done(); }, 10s));
    EXPECT_TRUE(done.value().has_value()) << done.value().error().to_string();
    return done.value().has_value() ? *done.value() : pb::CommandReply();
  }
  pb::InodeRecord inode(std::uint64_t id) {
    return state::queries::inode(tables_, InodeId::from_raw(id)).value();
  }

  VirtualRuntime runtime_;
  runtime::TaskGroup group_{runtime_};
  net::MemNetwork network_{runtime_};
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  replication::MemVault vault_{runtime_, 1ms};
  kv::Kv& tables_ = vault_.tables();
  replication::MemLogStore store_{runtime_, 1ms};
  std::unique_ptr<testing::SoloGroup> commands_;
  std::unique_ptr<Master> master_;
  std::unique_ptr<net::Listener> listener_;
  std::vector<std::unique_ptr<FakeClient>> clients_;
  std::vector<std::unique_ptr<FakeCs>> servers_;
};

}  // namespace cairn::mds::master
