#include <fmt/format.h>

#include "mds/replication/mem_vault.h"
#include "mds/replication/vault_fixture.h"

namespace cairn::mds::replication {
namespace {

namespace fs = std::filesystem;

RocksVault::Options small_options() {
  RocksVault::Options options;
  options.tables = RocksVault::tables_options(4_MiB);
  options.tables.write_buffer_bytes = 256_KiB;  // several tables even for few rows
  options.reserve_bytes = 0;
  return options;
}

// One MDS repository over its lives.
class Node {
 public:
  explicit Node(ThreadedRuntime& runtime, RocksVault::Options options = small_options())
      : runtime_(runtime), options_(std::move(options)) {
    open();
  }
  ~Node() { close(); }
  void open() {
    Result<std::unique_ptr<RocksVault>> opened =
        RocksVault::open(runtime_, *log_, directory_.path(), options_);
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    vault_ = std::move(*opened);
  }
  void close() {
    if (vault_ == nullptr) return;
    runtime_.run(vault_->stop());
    vault_.reset();
  }
  void restart() {
    close();
    open();
  }
  RocksVault& vault() { return *vault_; }
  RocksVault::Options& options() { return options_; }
  const disk::Path& path() const { return directory_.path(); }
  std::uint32_t digest() { return digest_now(vault_->tables()); }
  bool has(const char* name) const { return fs::exists(path() / name); }

 private:
  ThreadedRuntime& runtime_;
  RocksVault::Options options_;
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  TemporaryDirectory directory_;
  std::unique_ptr<RocksVault> vault_;
};

class RocksVaultTest : public ::testing::Test {
 protected:
  Snapshot snapshot_of(Node& node, std::uint64_t resume = 0) {
    Result<Snapshot> snapshot = runtime_.run(node.vault().open_snapshot(resume));
    EXPECT_TRUE(snapshot.has_value()) << snapshot.error().to_string();
    return snapshot.has_value() ? *snapshot : Snapshot();
  }
  Result<std::vector<ByteCount>> begin(Node& node, const Snapshot& snapshot) {
    return runtime_.run(node.vault().begin_incoming(snapshot));
  }
  // Copies at most `bytes_max` of what is missing.
  void copy(Node& from, Node& to, const Snapshot& snapshot, ByteCount bytes_max = UINT64_MAX) {
    const Result<std::vector<ByteCount>> here = begin(to, snapshot);
    ASSERT_TRUE(here.has_value()) << here.error().to_string();
    for (std::uint32_t file = 0; file < here->size(); ++file) {
      ByteCount at = (*here)[file];
      while (at < snapshot.files[file].bytes && bytes_max > 0) {
        const ByteCount want = std::min<ByteCount>(bytes_max, 50'000);
        Result<std::string> part =
            runtime_.run(from.vault().read_snapshot(snapshot.id, file, at, want));
        ASSERT_TRUE(part.has_value()) << part.error().to_string();
        ASSERT_FALSE(part->empty());
        const ByteCount bytes = part->size();
        const Status written = runtime_.run(to.vault().write_incoming(file, at, std::move(*part)));
        ASSERT_TRUE(written.has_value()) << written.error().to_string();
        at += bytes;
        bytes_max -= bytes;
      }
    }
  }
  Status install(Node& node) { return runtime_.run(node.vault().install_incoming()); }

  ThreadedRuntime runtime_;
};

TEST_F(RocksVaultTest, AnInstalledSnapshotIsTheTablesOfItsTimeThoughTheyWereWrittenMeanwhile) {
  Node from(runtime_);
  Node to(runtime_);
  for (std::uint64_t slot : {3000U, 6000U, 9000U}) {  // a table each
    fill_tables(from.vault().tables(), slot, slot);
    ASSERT_TRUE(runtime_.run(from.vault().flush()).has_value());
  }
  fill_tables(to.vault().tables(), 300, 2);
  const std::uint32_t digest = from.digest();
  const Snapshot snapshot = snapshot_of(from);
  EXPECT_EQ(snapshot.applied, Slot(9000));
  EXPECT_EQ(snapshot.membership, "members");
  EXPECT_GT(snapshot.files.size(), 4U);
  fill_tables(from.vault().tables(), 20'000, 3);
  ASSERT_TRUE(runtime_.run(from.vault().flush()).has_value());
  EXPECT_NE(from.digest(), digest);
  copy(from, to, snapshot);
  ASSERT_TRUE(install(to).has_value());
  EXPECT_EQ(to.digest(), digest);
  EXPECT_EQ(to.vault().incoming_id(), 0U);
  EXPECT_FALSE(to.has("incoming"));
  EXPECT_FALSE(to.has("db.old"));
  to.restart();
  EXPECT_EQ(to.digest(), digest);
  // They are tables like any others.
  fill_tables(to.vault().tables(), 10'000, 4);
  ASSERT_TRUE(runtime_.run(to.vault().flush()).has_value());
}

TEST_F(RocksVaultTest, ACrashAtAnyStepOfAnInstallLeavesTheOldTablesOrTheNewOnes) {
  Node from(runtime_);
  fill_tables(from.vault().tables(), 2000);
  const std::uint32_t fresh = from.digest();
  const Snapshot snapshot = snapshot_of(from);
  for (int crash = 1; crash <= kSwapSteps; ++crash) {
    Node to(runtime_);
    fill_tables(to.vault().tables(), 100, 2);
    ASSERT_TRUE(runtime_.run(to.vault().flush()).has_value());
    const std::uint32_t before = to.digest();
    to.options().swap_hook = [crash](int step) {
      return step == crash ? Status(fail(Code::kCancelled, "crash")) : Status();
    };
    to.restart();
    copy(from, to, snapshot);
    const Status installed = install(to);
    ASSERT_FALSE(installed.has_value()) << crash;
    to.options().swap_hook = {};
    to.restart();
    EXPECT_EQ(to.digest(), crash <= 2 ? before : fresh) << crash;
    EXPECT_FALSE(to.has("db.old")) << crash;
    EXPECT_FALSE(to.has("incoming")) << crash;
  }
}

TEST_F(RocksVaultTest, TablesThatCouldNotBeReplacedAnswerErrorsInsteadOfOldTruth) {
  Node from(runtime_);
  Node to(runtime_);
  fill_tables(from.vault().tables(), 500);
  to.options().swap_hook = [](int step) {
    return step == 4 ? Status(fail(Code::kDiskFailed, "bad disk")) : Status();
  };
  to.restart();
  copy(from, to, snapshot_of(from));
  EXPECT_EQ(install(to).error().code(), Code::kDiskFailed);
  EXPECT_EQ(to.vault().tables().get("x").error().code(), Code::kDiskFailed);
  EXPECT_EQ(to.vault().tables().write({}).error().code(), Code::kDiskFailed);
  EXPECT_EQ(runtime_.run(to.vault().flush()).error().code(), Code::kDiskFailed);
  EXPECT_EQ(runtime_.run(to.vault().digest()).error().code(), Code::kDiskFailed);
  to.options().swap_hook = {};
}

TEST_F(RocksVaultTest, AnUnfinishedSnapshotGoesOnAfterARestart) {
  Node from(runtime_);
  Node to(runtime_);
  fill_tables(from.vault().tables(), 9000);
  const Snapshot snapshot = snapshot_of(from);
  ByteCount total = 0;
  for (const SnapshotFile& file : snapshot.files) total += file.bytes;
  copy(from, to, snapshot, total / 2);
  to.restart();
  EXPECT_EQ(to.vault().incoming_id(), snapshot.id);
  const Result<std::vector<ByteCount>> here = begin(to, snapshot);
  ASSERT_TRUE(here.has_value());
  ByteCount sum = 0;
  for (const ByteCount bytes : *here) sum += bytes;
  EXPECT_EQ(sum, total / 2);
  EXPECT_EQ(install(to).error().code(), Code::kInvalidArgument);  // not complete: stays
  copy(from, to, snapshot);
  ASSERT_TRUE(install(to).has_value());
  EXPECT_EQ(to.digest(), from.digest());
}

TEST_F(RocksVaultTest, ASnapshotOfAnotherIdBeginsAnew) {
  Node from(runtime_);
  Node to(runtime_);
  fill_tables(from.vault().tables(), 3000);
  Snapshot snapshot = snapshot_of(from);
  copy(from, to, snapshot, 100'000);
  snapshot.id += 1;
  const Result<std::vector<ByteCount>> here = begin(to, snapshot);
  ASSERT_TRUE(here.has_value());
  for (const ByteCount bytes : *here) EXPECT_EQ(bytes, 0U);
  // The same id over other files is another snapshot too.
  snapshot.files.front().crc32c ^= 1;
  EXPECT_TRUE(begin(to, snapshot).has_value());
}

TEST_F(RocksVaultTest, WrongBytesAreThrownAwayAndTheTablesStay) {
  Node from(runtime_);
  fill_tables(from.vault().tables(), 3000);
  const Snapshot good = snapshot_of(from);
  for (int what = 0; what < 5; ++what) {
    Node to(runtime_);
    fill_tables(to.vault().tables(), 100, 2);
    const std::uint32_t before = to.digest();
    Snapshot snapshot = good;
    if (what == 1) snapshot.applied = snapshot.applied.next();
    if (what == 2) snapshot.membership = "others";
    if (what == 3) {  // a table that the manifest of RocksDB knows is not among the files
      const auto table =
          std::find_if(snapshot.files.begin(), snapshot.files.end(),
                       [](const SnapshotFile& file) { return file.name.ends_with(".sst"); });
      ASSERT_NE(table, snapshot.files.end());
      table->name = "999999.sst";
    }
    if (what == 4) snapshot.files.front().crc32c ^= 1;
    copy(from, to, snapshot);
    if (what == 0) {
      const disk::Path file = to.path() / "incoming" / "db" / snapshot.files.front().name;
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekp(static_cast<std::streamoff>(snapshot.files.front().bytes / 2));
      stream.put('\x7f');
    }
    EXPECT_EQ(install(to).error().code(), Code::kCorrupt) << what;
    EXPECT_EQ(to.digest(), before) << what;
    EXPECT_EQ(to.vault().incoming_id(), 0U) << what;
    EXPECT_FALSE(to.has("incoming")) << what;
    fill_tables(to.vault().tables(), 200, 3);
    EXPECT_TRUE(runtime_.run(to.vault().flush()).has_value()) << what;
  }
}

TEST_F(RocksVaultTest, TablesOfAnotherClusterOrOfThePastAreRefused) {
  Node from(runtime_);
  fill_tables(from.vault().tables(), 100);
  pb::ClusterRecord record;
  record.set_cluster_id(7);
  kv::Batch batch;
  batch.put(state::keys::cluster(), record.SerializeAsString());
  ASSERT_TRUE(from.vault().tables().write(batch).has_value());
  const Snapshot snapshot = snapshot_of(from);
  RocksVault::Options options = small_options();
  options.cluster_id = ClusterId::from_raw(8);
  Node foreign(runtime_, options);
  copy(from, foreign, snapshot);
  EXPECT_EQ(install(foreign).error().code(), Code::kWrongCluster);
  EXPECT_FALSE(foreign.has("incoming"));
  options.cluster_id = ClusterId::from_raw(7);
  Node ahead(runtime_, options);
  copy(from, ahead, snapshot);
  fill_tables(ahead.vault().tables(), 101);
  EXPECT_EQ(install(ahead).error().code(), Code::kRefusedForSafety);
  EXPECT_FALSE(ahead.has("incoming"));
  Node behind(runtime_, options);
  copy(from, behind, snapshot);
  EXPECT_TRUE(install(behind).has_value());
}

TEST_F(RocksVaultTest, ASnapshotThatDoesNotFitTheDiskIsRefusedBeforeAnythingIsWritten) {
  RocksVault::Options options = small_options();
  options.reserve_bytes = 10_MiB;
  ByteCount free = 10_MiB + 999;
  options.free_bytes = [&free] { return Result<ByteCount>(free); };
  Node to(runtime_, options);
  const Snapshot snapshot{.id = 5,
                          .applied = Slot(9),
                          .membership = {},
                          .files = {{.name = "CURRENT", .bytes = 1000, .crc32c = 1}}};
  EXPECT_EQ(begin(to, snapshot).error().code(), Code::kNoSpace);
  EXPECT_FALSE(to.has("incoming"));
  free += 1;
  EXPECT_TRUE(begin(to, snapshot).has_value());
  // What is here already is not counted again.
  ASSERT_TRUE(runtime_.run(to.vault().write_incoming(0, 0, std::string(600, 'x'))).has_value());
  free -= 600;
  EXPECT_TRUE(begin(to, snapshot).has_value());
  free -= 1;
  EXPECT_EQ(begin(to, snapshot).error().code(), Code::kNoSpace);
}

TEST_F(RocksVaultTest, PartsThatDoNotFitAreRefused) {
  Node to(runtime_);
  EXPECT_EQ(runtime_.run(to.vault().write_incoming(0, 0, "x")).error().code(),
            Code::kInvalidArgument);
  const Snapshot snapshot{.id = 5,
                          .applied = Slot(9),
                          .membership = {},
                          .files = {{.name = "CURRENT", .bytes = 4, .crc32c = 1}}};
  ASSERT_TRUE(begin(to, snapshot).has_value());
  const auto code = [&](std::uint32_t file, ByteCount offset, std::string bytes) {
    const Status written = runtime_.run(to.vault().write_incoming(file, offset, std::move(bytes)));
    return written.has_value() ? Code() : written.error().code();
  };
  EXPECT_EQ(code(1, 0, "a"), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 1, "a"), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 0, "abcde"), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 0, "ab"), Code());
  EXPECT_EQ(code(0, 0, "ab"), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 2, "abc"), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 2, "cd"), Code());
  for (const char* name : {"../db/CURRENT", "/etc/passwd", "LOCK", "", "a.sst", "MANIFEST-"}) {
    Snapshot bad = snapshot;
    bad.files.front().name = name;
    EXPECT_EQ(begin(to, bad).error().code(), Code::kCorrupt) << name;
  }
  EXPECT_EQ(to.vault().incoming_id(), 5U);
}

TEST_F(RocksVaultTest, ASnapshotForOthersIsSharedWhileYoungAndDroppedAfterAMinuteWithoutReads) {
  Node node(runtime_);
  fill_tables(node.vault().tables(), 500);
  const Snapshot first = snapshot_of(node);
  fill_tables(node.vault().tables(), 600, 2);
  runtime_.advance(59s);
  EXPECT_EQ(snapshot_of(node).id, first.id);
  runtime_.advance(50s);
  EXPECT_EQ(snapshot_of(node, first.id).id, first.id);
  ASSERT_TRUE(runtime_.run(node.vault().read_snapshot(first.id, 0, 0, 1)).has_value());
  const Snapshot second = snapshot_of(node);  // somebody new gets new tables
  EXPECT_NE(second.id, first.id);
  EXPECT_EQ(second.applied, Slot(600));
  EXPECT_EQ(runtime_.run(node.vault().read_snapshot(first.id, 0, 0, 1)).error().code(),
            Code::kNotFound);
  const disk::Path directory = node.path() / "snapshots" / fmt::format("{:016x}", second.id);
  EXPECT_TRUE(fs::exists(directory));
  runtime_.advance(61s);
  runtime_.run_until([&] { return !fs::exists(directory); });
  EXPECT_EQ(runtime_.run(node.vault().read_snapshot(second.id, 0, 0, 1)).error().code(),
            Code::kNotFound);
}

TEST_F(RocksVaultTest, WhoComesWhileASnapshotIsMadeGetsTheSameOne) {
  Node node(runtime_);
  fill_tables(node.vault().tables(), 500);
  runtime::TaskGroup group(runtime_);
  std::vector<testing::Outcome<Result<Snapshot>>> opened;
  for (int i = 0; i < 3; ++i) opened.emplace_back(group, node.vault().open_snapshot(0));
  runtime_.advance(3s);  // their patience ends before the threads were heard of
  runtime_.run_until([&] { return group.running() == 0; });
  for (auto& one : opened) EXPECT_EQ(one.value().error().code(), Code::kBusy);
  const Snapshot made = snapshot_of(node);
  EXPECT_EQ(made.applied, Slot(500));
  EXPECT_EQ(snapshot_of(node).id, made.id);
  EXPECT_EQ(
      std::distance(fs::directory_iterator(node.path() / "snapshots"), fs::directory_iterator()),
      1);
}

TEST_F(RocksVaultTest, ReadsStayInsideTheSnapshot) {
  Node node(runtime_);
  fill_tables(node.vault().tables(), 5000);
  const Snapshot snapshot = snapshot_of(node);
  const auto read = [&](std::uint32_t file, ByteCount offset, ByteCount bytes) {
    return runtime_.run(node.vault().read_snapshot(snapshot.id, file, offset, bytes));
  };
  const auto count = static_cast<std::uint32_t>(snapshot.files.size());
  EXPECT_EQ(read(count, 0, 1).error().code(), Code::kInvalidArgument);
  const ByteCount size = snapshot.files[0].bytes;
  EXPECT_EQ(read(0, size + 1, 1).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(read(0, size, 1)->size(), 0U);
  EXPECT_EQ(read(0, 0, UINT64_MAX)->size(), std::min<ByteCount>(size, 1_MiB));
}

TEST_F(RocksVaultTest, LeftoversOfEarlierLivesAreRemovedWhenItOpens) {
  Node node(runtime_);
  node.close();
  fs::create_directories(node.path() / "snapshots" / "0123");
  fs::create_directories(node.path() / "db.old");
  fs::create_directories(node.path() / "incoming" / "db");
  std::ofstream(node.path() / "incoming" / "manifest") << "CRNINCO1 but damaged";
  node.open();
  EXPECT_FALSE(node.has("snapshots"));
  EXPECT_FALSE(node.has("db.old"));
  EXPECT_FALSE(node.has("incoming"));
  EXPECT_EQ(node.vault().incoming_id(), 0U);
}

TEST_F(RocksVaultTest, ADigestIsOfTheTablesAtItsCallAndTheSameInMemory) {
  Node node(runtime_);
  MemVault memory(runtime_, 1ms);
  fill_tables(node.vault().tables(), 3000);
  fill_tables(memory.tables(), 3000);
  const std::uint32_t expected = digest_now(memory.tables());
  runtime::TaskGroup group(runtime_);
  testing::Outcome<Result<std::uint32_t>> digest(group, node.vault().digest());
  testing::Outcome<Status> flushed(group, node.vault().flush());
  fill_tables(node.vault().tables(), 4000, 9);
  runtime_.run_until([&] { return group.running() == 0; });
  ASSERT_TRUE(digest.value().has_value());
  EXPECT_EQ(*digest.value(), expected);
  EXPECT_TRUE(flushed.value().has_value());
  EXPECT_NE(node.digest(), expected);
}

TEST_F(RocksVaultTest, AnInstallWaitsForWhoUsesTheTables) {
  Node from(runtime_);
  Node to(runtime_);
  fill_tables(from.vault().tables(), 5000);
  fill_tables(to.vault().tables(), 4000, 2);
  copy(from, to, snapshot_of(from));
  runtime::TaskGroup group(runtime_);
  std::vector<testing::Outcome<Result<std::uint32_t>>> digests;
  for (int i = 0; i < 6; ++i) digests.emplace_back(group, to.vault().digest());
  testing::Outcome<Status> flushed(group, to.vault().flush());
  testing::Outcome<Result<Snapshot>> served(group, to.vault().open_snapshot(0));
  testing::Outcome<Status> installed(group, to.vault().install_incoming());
  runtime_.run_until([&] { return group.running() == 0; });
  EXPECT_TRUE(installed.value().has_value()) << installed.value().error().to_string();
  EXPECT_TRUE(flushed.value().has_value());
  EXPECT_EQ(to.digest(), from.digest());
  EXPECT_EQ(digests[4].value().error().code(), Code::kOverloaded);
  EXPECT_EQ(digests[5].value().error().code(), Code::kOverloaded);
}

}  // namespace
}  // namespace cairn::mds::replication
