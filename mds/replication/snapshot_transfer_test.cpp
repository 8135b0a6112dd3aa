// Puller and server over vaults in memory, with a wire that fails, on virtual time.
#include "common/rpc/rpc.h"
#include "mds/replication/mem_vault.h"
#include "mds/replication/snapshot_puller.h"
#include "mds/replication/snapshot_rules.h"
#include "mds/replication/snapshot_server.h"
#include "mds/replication/vault_fixture.h"

namespace cairn::mds::replication {
namespace {

using mds::testing::Outcome;
using mds::testing::VirtualRuntime;

constexpr ClusterId kCluster = ClusterId::from_raw(77);

// A caller that takes 1 ms a way and loses what it is told to lose.
class Wire final : public rpc::Caller {
 public:
  Wire(runtime::Runtime& runtime, SnapshotServer& server) : runtime_(runtime) {
    dispatcher_.add<pb::OpenSnapshotRequest, pb::OpenSnapshotReply>(
        "/cairn.pb.Peer/OpenSnapshot",
        [&server](pb::OpenSnapshotRequest request) { return server.open(std::move(request)); });
    dispatcher_.add<pb::ReadSnapshotRequest, pb::ReadSnapshotReply>(
        "/cairn.pb.Peer/ReadSnapshot",
        [&server](pb::ReadSnapshotRequest request) { return server.read(std::move(request)); });
  }
  Task<Result<std::string>> call(std::string method, std::string request,
                                 Deadline deadline) override {
    ++calls_;
    in_flight_max_ = std::max(in_flight_max_, ++in_flight_);
    const bool lost = calls_ > healthy_calls_ || prng_.chance(loss_per_mille_);
    const Instant at = lost ? deadline : runtime_.now() + 1ms;
    co_await runtime::sleep_until(runtime_, at);
    Result<std::string> answer = fail(Code::kTimeout, "lost");
    if (!lost) {
      const rpc::Handler* handler = dispatcher_.find(method);
      CHECK(handler != nullptr);
      answer = co_await (*handler)(std::move(request));
      co_await runtime::sleep_for(runtime_, 1ms);
      if (answer.has_value() && shorten_ && method.ends_with("ReadSnapshot")) answer->pop_back();
    }
    --in_flight_;
    co_return answer;
  }
  std::uint64_t calls_ = 0;
  std::uint64_t healthy_calls_ = UINT64_MAX;
  std::uint64_t loss_per_mille_ = 0;
  std::uint64_t in_flight_ = 0;
  std::uint64_t in_flight_max_ = 0;
  bool shorten_ = false;

 private:
  runtime::Runtime& runtime_;
  rpc::Dispatcher dispatcher_;
  Prng prng_{9};
};

class SnapshotTransfer : public ::testing::Test {
 protected:
  SnapshotTransfer() { fill(6000); }
  ~SnapshotTransfer() override {
    runtime_.run_for(60min);
    EXPECT_EQ(group_.running(), 0U);
  }
  // Rows of about 1 KiB, so that there are several parts.
  void fill(std::uint64_t slot) {
    Prng prng(slot);
    kv::Batch batch;
    for (int i = 0; i < 6000; ++i) {
      batch.put("k" + std::to_string(i), std::string(1000, static_cast<char>(prng.below(256))));
    }
    CHECK(from_.tables().write(batch).has_value());
    fill_tables(from_.tables(), slot);
  }
  template <class T>
  T run(Task<T> task, Duration limit = 60min) {
    Outcome<T> outcome(group_, std::move(task));
    CHECK(runtime_.run_until([&] { return outcome.done(); }, limit));
    return std::move(outcome.value());
  }
  Result<Slot> pull(SnapshotPuller::Options options) {
    SnapshotPuller puller(runtime_, to_, wire_, options);
    return run(puller.pull());
  }
  static SnapshotPuller::Options options() {
    return {.cluster_id = kCluster, .self = NodeId::from_raw(2), .bytes_per_s = 0};
  }
  void expect_equal_after_install() {
    const Status installed = run(to_.install_incoming());
    ASSERT_TRUE(installed.has_value()) << installed.error().to_string();
    EXPECT_EQ(digest_now(to_.tables()), digest_now(from_.tables()));
  }

  VirtualRuntime runtime_;
  runtime::TaskGroup group_{runtime_};
  MemVault from_{runtime_, 1ms};
  MemVault to_{runtime_, 1ms};
  SnapshotServer server_{runtime_, from_, kCluster, 0};
  Wire wire_{runtime_, server_};
};

TEST_F(SnapshotTransfer, APulledSnapshotInstallsToEqualTables) {
  const Result<Slot> pulled = pull(options());
  ASSERT_TRUE(pulled.has_value()) << pulled.error().to_string();
  EXPECT_EQ(*pulled, Slot(6000));
  EXPECT_EQ(wire_.in_flight_max_, SnapshotPuller::kPartsInFlight);
  expect_equal_after_install();
}

TEST_F(SnapshotTransfer, AnInterruptedPullGoesOnWithoutFetchingAnythingTwice) {
  wire_.healthy_calls_ = 5;  // open and four parts
  EXPECT_EQ(pull(options()).error().code(), Code::kTimeout);
  ASSERT_NE(to_.incoming_id(), 0U);
  wire_.healthy_calls_ = UINT64_MAX;
  wire_.calls_ = 0;
  to_.crash();
  to_.attach(runtime_);
  const Result<Slot> pulled = pull(options());
  ASSERT_TRUE(pulled.has_value()) << pulled.error().to_string();
  const Result<Snapshot> snapshot = run(from_.open_snapshot(0));
  const std::uint64_t parts = div_ceil(total_bytes(*snapshot), 1_MiB);
  EXPECT_EQ(wire_.calls_, 1 + parts - 4);
  expect_equal_after_install();
}

TEST_F(SnapshotTransfer, ASnapshotThatIsGoneIsFetchedAnew) {
  wire_.healthy_calls_ = 3;
  EXPECT_FALSE(pull(options()).has_value());
  const std::uint64_t id = to_.incoming_id();
  runtime_.run_for(2min);
  fill(7000);
  wire_.healthy_calls_ = UINT64_MAX;
  const Result<Slot> pulled = pull(options());
  ASSERT_TRUE(pulled.has_value());
  EXPECT_EQ(*pulled, Slot(7000));
  EXPECT_NE(to_.incoming_id(), id);
  expect_equal_after_install();
}

TEST_F(SnapshotTransfer, RetriesOverALossyWireEnd) {
  wire_.loss_per_mille_ = 300;
  int attempts = 0;
  Result<Slot> pulled = fail(Code::kTimeout);
  while (!pulled.has_value() && ++attempts < 100) {
    EXPECT_EQ(pulled.error().code(), Code::kTimeout);
    SnapshotPuller::Options impatient = options();
    impatient.open_call = 3s;
    impatient.part_call = 3s;
    pulled = pull(impatient);
  }
  ASSERT_TRUE(pulled.has_value());
  EXPECT_GT(attempts, 1);
  expect_equal_after_install();
}

TEST_F(SnapshotTransfer, TheRateIsKept) {
  SnapshotPuller::Options slow = options();
  slow.bytes_per_s = 1_MiB;
  const Instant before = runtime_.now();
  ASSERT_TRUE(pull(slow).has_value());
  const Result<Snapshot> snapshot = run(from_.open_snapshot(0));
  const double wanted = static_cast<double>(total_bytes(*snapshot)) / 1_MiB;
  const double took = std::chrono::duration<double>(runtime_.now() - before).count();
  EXPECT_GT(took, wanted - 1.1);  // the last part is not waited for
  EXPECT_LT(took, wanted + 1.0);
}

TEST_F(SnapshotTransfer, TheServerKeepsItsRateAndRefusesWhatWouldWaitTooLong) {
  SnapshotServer slow(runtime_, from_, kCluster, 100'000);
  const Result<Snapshot> snapshot = run(from_.open_snapshot(0));
  pb::ReadSnapshotRequest request;
  request.set_cluster_id(kCluster.raw());
  request.set_id(snapshot->id);
  request.set_bytes(300'000);
  const Instant before = runtime_.now();
  std::vector<Outcome<Result<pb::ReadSnapshotReply>>> reads;
  for (int i = 0; i < 4; ++i) reads.emplace_back(group_, slow.read(request));
  ASSERT_TRUE(runtime_.run_until([&] { return group_.running() == 0; }, 1min));
  EXPECT_EQ(reads[0].value()->bytes().size(), 300'000U);
  EXPECT_EQ(reads[1].value().error().code(), Code::kOverloaded);
  EXPECT_EQ(run(slow.read(request)).error().code(), Code::kOverloaded);
  runtime_.run_for(1500ms);
  EXPECT_TRUE(run(slow.read(request)).has_value());
  EXPECT_GT(runtime_.now() - before, 2900ms);
  request.set_bytes(2'000'000);
  EXPECT_EQ(run(slow.read(request)).error().code(), Code::kInvalidArgument);
}

TEST_F(SnapshotTransfer, AnotherClusterGetsNothing) {
  SnapshotPuller::Options foreign = options();
  foreign.cluster_id = ClusterId::from_raw(78);
  EXPECT_EQ(pull(foreign).error().code(), Code::kWrongCluster);
  pb::ReadSnapshotRequest request;
  EXPECT_EQ(run(server_.read(request)).error().code(), Code::kWrongCluster);
}

TEST_F(SnapshotTransfer, AnAnswerOfAnotherLengthEndsThePull) {
  wire_.shorten_ = true;
  EXPECT_EQ(pull(options()).error().code(), Code::kProtocol);
}

TEST_F(SnapshotTransfer, StoppingEndsThePullSoon) {
  bool stopping = false;
  SnapshotPuller::Options slow = options();
  slow.bytes_per_s = 1_MiB;
  slow.stopping = &stopping;
  SnapshotPuller puller(runtime_, to_, wire_, slow);
  Outcome<Result<Slot>> outcome(group_, puller.pull());
  runtime_.run_for(1500ms);
  EXPECT_FALSE(outcome.done());
  EXPECT_GT(puller.bytes_here(), 0U);
  EXPECT_LT(puller.bytes_here(), puller.bytes_total());
  stopping = true;
  ASSERT_TRUE(runtime_.run_until([&] { return outcome.done(); }, 5s));
  EXPECT_EQ(outcome.value().error().code(), Code::kCancelled);
}

TEST_F(SnapshotTransfer, ADamagedSnapshotIsThrownAwayAndTheNextPullIsWhole) {
  ASSERT_TRUE(pull(options()).has_value());
  const std::uint32_t before = digest_now(to_.tables());
  ASSERT_TRUE(to_.damage_incoming());
  EXPECT_EQ(run(to_.install_incoming()).error().code(), Code::kCorrupt);
  EXPECT_EQ(to_.incoming_id(), 0U);
  EXPECT_EQ(digest_now(to_.tables()), before);
  ASSERT_TRUE(pull(options()).has_value());
  expect_equal_after_install();
}

TEST_F(SnapshotTransfer, TablesThatAreNotBehindFetchNothing) {
  fill_tables(to_.tables(), 6000, 5);
  const Result<Slot> pulled = pull(options());
  ASSERT_TRUE(pulled.has_value());
  EXPECT_EQ(*pulled, Slot(6000));
  EXPECT_EQ(wire_.calls_, 1U);
  EXPECT_EQ(to_.incoming_id(), 0U);
}

TEST_F(SnapshotTransfer, ASnapshotThatIsBeingMadeIsWaitedForButNotForEver) {
  from_.set_busy(5);
  ASSERT_TRUE(pull(options()).has_value());
  EXPECT_GT(wire_.calls_, 6U);
  expect_equal_after_install();
  fill(9000);
  from_.set_busy(1'000'000);
  SnapshotPuller::Options impatient = options();
  impatient.open_wait = 1min;
  EXPECT_EQ(pull(impatient).error().code(), Code::kBusy);
}

TEST_F(SnapshotTransfer, NoSpaceIsTold) {
  to_.set_free_bytes(1000);
  EXPECT_EQ(pull(options()).error().code(), Code::kNoSpace);
  EXPECT_EQ(to_.incoming_id(), 0U);
}

TEST(MemVault, ACrashLeavesTheTablesOfTheLastFlush) {
  VirtualRuntime runtime;
  runtime::TaskGroup group(runtime);
  MemVault vault(runtime, 5ms);
  fill_tables(vault.tables(), 10);
  Outcome<Status> flushed(group, vault.flush());
  runtime.run_for(6ms);
  ASSERT_TRUE(flushed.done());
  const std::uint32_t durable = digest_now(vault.tables());
  fill_tables(vault.tables(), 20, 2);
  Outcome<Result<std::uint32_t>> digest(group, vault.digest());
  const std::uint32_t expected = digest_now(vault.tables());
  fill_tables(vault.tables(), 30, 3);
  runtime.run_for(6ms);
  EXPECT_EQ(*digest.value(), expected);
  vault.crash();
  EXPECT_EQ(digest_now(vault.tables()), durable);
  vault.attach(runtime);
  vault.fail_from_now();
  Outcome<Status> failed(group, vault.flush());
  runtime.run_for(6ms);
  EXPECT_EQ(failed.value().error().code(), Code::kDiskFailed);
}

TEST(MemVault, StoppingGivesUpWhatIsUnderWay) {
  VirtualRuntime runtime;
  runtime::TaskGroup group(runtime);
  MemVault vault(runtime, 5ms);
  Outcome<Status> flushed(group, vault.flush());
  group.spawn(vault.stop());
  runtime.run_for(20ms);
  EXPECT_EQ(group.running(), 0U);
  EXPECT_EQ(flushed.value().error().code(), Code::kCancelled);
}

TEST(TokenBucket, GivesItsRateAndASmallBurst) {
  TokenBucket bucket(1000);
  const Instant start = Instant::from_nanos(5'000'000'000);
  EXPECT_EQ(bucket.take(100, start), start);
  EXPECT_EQ(bucket.take(1000, start), start + 50ms);  // 50 ms were saved up
  EXPECT_EQ(bucket.take(1, start), start + 1050ms);
  EXPECT_EQ(bucket.backlog(start), 1051ms);
  EXPECT_EQ(bucket.take(1, start + 60min), start + 60min);
  TokenBucket unlimited(0);
  EXPECT_EQ(unlimited.take(UINT64_MAX, start), start);
}

}  // namespace
}  // namespace cairn::mds::replication
