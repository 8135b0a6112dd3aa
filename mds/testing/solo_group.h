// SoloGroup: the log of a group of one on virtual time, for tests of what stands above it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "mds/replication/group.h"
#include "mds/replication/mem_log_store.h"
#include "mds/replication/mem_vault.h"
#include "mds/testing/mem_peers.h"
#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::testing {

class SoloGroup final : private replication::Group::Owner {
 public:
  SoloGroup(VirtualRuntime& runtime, observe::Log& log, replication::TableVault& vault,
            replication::LogStore& store)
      : runtime_(runtime), hub_(runtime), peers_(hub_, kFirstMdsId) {
    replication::Group::Options options;
    options.self = kFirstMdsId;
    options.cluster_id = ClusterId::from_raw(42);
    options.bootstrap = {.version = 0,
                         .members = {{.id = kFirstMdsId,
                                      .role = paxos::Role::kVoter,
                                      .address = "10.0.0.1:2510",
                                      .repo_uuid = 1}},
                         .next_id = 2};
    replication::Group::Owner& owner = *this;
    group_ = std::make_unique<replication::Group>(
        runtime, log, vault, store, peers_,
        [](const net::Address&) -> std::unique_ptr<rpc::Caller> { return nullptr; },
        std::move(options), owner);
  }
  // It leads when this returns.
  void start() {
    const Status started = group_->start();
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    ASSERT_TRUE(runtime_.run_until([this] { return group_->leads(); }, 10s));
  }
  void stop() {
    runtime::TaskGroup stopping(runtime_);
    Outcome<Status> stopped(stopping, group_->stop());
    ASSERT_TRUE(runtime_.run_until([&] { return stopped.done(); }, 30s)) << "the group hangs";
    EXPECT_TRUE(stopped.value().has_value());
    runtime_.run_until([&] { return stopping.running() == 0; }, 1s);
  }
  replication::Group& group() { return *group_; }

 private:
  void on_elected() override {}
  void on_deposed() override { ADD_FAILURE() << "nobody else is there"; }
  void on_membership(const paxos::Membership&) override {}
  void on_resync(NodeId) override { ADD_FAILURE() << "nobody else is there"; }
  void on_report(NodeId, pb::PeerReport) override {}
  void on_failure(const Error& error) override { ADD_FAILURE() << error.to_string(); }

  VirtualRuntime& runtime_;
  PeerHub hub_;
  MemPeers peers_;
  std::unique_ptr<replication::Group> group_;
};

}  // namespace cairn::mds::testing
