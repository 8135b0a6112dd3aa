#include <gtest/gtest.h>

#include "common/kv/mem_kv.h"
#include "mds/replication/applier.h"
#include "mds/replication/replicated_log.h"
#include "mds/state/machine.h"
#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::replication {
namespace {

using testing::Outcome;
using testing::VirtualRuntime;

class SingleLogTest : public ::testing::Test {
 protected:
  SingleLogTest() { log_.start(); }
  ~SingleLogTest() override {
    group_.spawn(log_.stop());
    runtime_.run_for(10s);
  }
  Outcome<Result<std::string>> propose(std::string command) {
    return {group_, log_.propose(std::move(command))};
  }

  VirtualRuntime runtime_;
  runtime::TaskGroup group_{runtime_};
  MemLogStore store_{runtime_, 1ms};
  std::vector<std::string> applied_;
  std::vector<Error> failures_;
  SingleLog log_{runtime_, store_,
                 [this](const std::vector<Entry>& batch) -> Result<std::vector<std::string>> {
                   std::vector<std::string> answers;
                   for (const Entry& entry : batch) {
                     applied_.push_back(entry.bytes);
                     answers.push_back("done " + entry.bytes);
                   }
                   return answers;
                 },
                 [this](const Error& error) { failures_.push_back(error); }};
};

TEST_F(SingleLogTest, PutsWhatArrivesDuringAWriteIntoOneBatch) {
  auto first = propose("0");
  runtime_.run_for(100us);  // its batch is on the way
  std::vector<Outcome<Result<std::string>>> rest;
  for (int i = 1; i <= 300; ++i) rest.push_back(propose(std::to_string(i)));
  EXPECT_FALSE(first.done());
  runtime_.run_for(5ms);
  ASSERT_TRUE(first.done());
  for (std::size_t i = 0; i < rest.size(); ++i) {
    ASSERT_TRUE(rest[i].done());
    EXPECT_EQ(rest[i].value().value(), "done " + std::to_string(i + 1));
  }
  EXPECT_EQ(store_.flushes(), 2U);
  ASSERT_EQ(applied_.size(), 301U);
  for (std::size_t i = 0; i < applied_.size(); ++i) EXPECT_EQ(applied_[i], std::to_string(i));
}

TEST_F(SingleLogTest, KeepsBatchesWithinTheirLimits) {
  std::vector<Outcome<Result<std::string>>> all;
  const std::string big(3_MiB, 'x');
  for (int i = 0; i < 4; ++i) all.push_back(propose(big));
  runtime_.run_for(1s);
  EXPECT_EQ(store_.flushes(), 4U);
  for (std::size_t i = 0; i < 2 * limits::kLogBatchCommandsMax; ++i) all.push_back(propose("s"));
  runtime_.run_for(1s);
  EXPECT_EQ(store_.flushes(), 6U);
  for (auto& outcome : all) EXPECT_TRUE(outcome.done());
}

TEST_F(SingleLogTest, AnswersOnlyWhenDurable) {
  auto outcome = propose("a");
  runtime_.run_for(900us);
  EXPECT_FALSE(outcome.done());
  EXPECT_TRUE(applied_.empty());
  runtime_.run_for(200us);
  EXPECT_TRUE(outcome.done());
}

TEST_F(SingleLogTest, FailsEverythingAfterADiskError) {
  auto good = propose("a");
  runtime_.run_for(10ms);
  store_.fail_from_now();
  auto bad = propose("b");
  auto waiting = propose("c");
  runtime_.run_for(10ms);
  auto late = propose("d");
  EXPECT_TRUE(good.value().has_value());
  EXPECT_EQ(bad.value().error().code(), Code::kDiskFailed);
  EXPECT_EQ(waiting.value().error().code(), Code::kDiskFailed);
  EXPECT_EQ(late.value().error().code(), Code::kDiskFailed);
  EXPECT_EQ(failures_.size(), 1U);
  EXPECT_EQ(applied_.size(), 1U);
}

TEST_F(SingleLogTest, FinishesTheQueueWhenItStops) {
  auto first = propose("a");
  auto second = propose("b");
  group_.spawn(log_.stop());
  auto late = propose("c");
  runtime_.run_for(1s);
  EXPECT_TRUE(first.value().has_value());
  EXPECT_TRUE(second.value().has_value());
  EXPECT_EQ(late.value().error().code(), Code::kCancelled);
}

std::string init_command() {
  pb::Command command;
  command.set_time_ns(1);
  command.mutable_init_cluster()->set_cluster_id(99);
  command.mutable_init_cluster()->set_name("test");
  return command.SerializeAsString();
}

std::string event_command(int number) {
  pb::Command command;
  command.set_time_ns(number);
  command.mutable_add_event()->mutable_event()->set_message("event " + std::to_string(number));
  return command.SerializeAsString();
}

struct AppliedWorld {
  VirtualRuntime runtime;
  runtime::TaskGroup group{runtime};
  std::unique_ptr<observe::Log> log = observe::make_null_log();
  MemLogStore store{runtime, 1ms};
  kv::MemKv tables;

  void fill(int commands) {
    std::vector<Entry> entries{Entry{.slot = Slot(1), .bytes = init_command()}};
    for (int i = 2; i <= commands; ++i) {
      entries.push_back(
          Entry{.slot = Slot(static_cast<std::uint64_t>(i)), .bytes = event_command(i)});
    }
    Outcome<Status> appended(group, store.append(std::move(entries)));
    runtime.run_for(1s);
    ASSERT_TRUE(appended.value().has_value());
  }
};

TEST(Applier, ReplaysWhatTheTablesLostInACrash) {
  AppliedWorld world;
  world.fill(1200);
  std::uint32_t whole = 0;
  {
    Applier applier(world.runtime, *world.log, world.tables, world.store, {});
    ASSERT_TRUE(applier.replay().has_value());
    EXPECT_EQ(applier.applied_slot(), Slot(1200));
    whole = state::Machine::digest(world.tables).value();
  }
  world.tables.crash();
  EXPECT_EQ(state::Machine::applied_slot(world.tables).value(), Slot(0));
  Applier again(world.runtime, *world.log, world.tables, world.store, {});
  ASSERT_TRUE(again.replay().has_value());
  EXPECT_EQ(state::Machine::digest(world.tables).value(), whole);
}

TEST(Applier, CutsTheLogOnlyBelowWhatIsDurable) {
  AppliedWorld world;
  Applier::Options options;
  options.flush_every_bytes = 20'000;
  world.fill(1000);
  Applier applier(world.runtime, *world.log, world.tables, world.store, options);
  ASSERT_TRUE(applier.replay().has_value());
  world.runtime.run_for(1s);
  EXPECT_LT(world.store.size_bytes(), 30'000U);
  world.tables.crash();
  Applier again(world.runtime, *world.log, world.tables, world.store, options);
  ASSERT_TRUE(again.replay().has_value());
  EXPECT_EQ(again.applied_slot(), Slot(1000));
}

TEST(Applier, RefusesALogThatEndsBeforeTheTables) {
  AppliedWorld world;
  world.fill(10);
  Applier applier(world.runtime, *world.log, world.tables, world.store, {});
  ASSERT_TRUE(applier.replay().has_value());
  MemLogStore other(world.runtime, 1ms);
  Applier wrong(world.runtime, *world.log, world.tables, other, {});
  const Status replayed = wrong.replay();
  ASSERT_FALSE(replayed.has_value());
  EXPECT_EQ(replayed.error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::mds::replication
