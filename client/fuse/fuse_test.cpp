// What of client/fuse can be tested without a kernel. tests/mount has the rest.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>

#include "client/fuse/attributes.h"
#include "client/fuse/mount_options.h"
#include "client/fuse/mount_point.h"
#include "client/fuse/mount_table.h"
#include "client/fuse/process.h"
#include "client/fuse/request_memory.h"
#include "client/fuse/writes_under_way.h"
#include "common/runtime/task_group.h"

namespace cairn::client::fuse {
namespace {

Result<MountRequest> parse(std::string_view program, std::vector<std::string> words,
                           bool superuser = false) {
  return parse_mount_request(program, words, superuser);
}

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

TEST(MountOptions, ClusterByOptionOrBySource) {
  const Result<MountRequest> by_option = parse("cairn-mount", {"-c", "stor1", "/mnt/a"});
  ASSERT_TRUE(by_option.has_value());
  EXPECT_EQ(by_option->cluster, "stor1");
  EXPECT_EQ(by_option->mount_point, "/mnt/a");
  EXPECT_EQ(by_option->source(), "cairn://stor1");
  const Result<MountRequest> by_source = parse("/usr/bin/cairn-mount", {"cairn://stor1", "/mnt/a"});
  ASSERT_TRUE(by_source.has_value());
  EXPECT_EQ(by_source->cluster, "stor1");
}

TEST(MountOptions, HelperTakesAnFstabLineAsMountGivesIt) {
  const Result<MountRequest> request =
      parse("/sbin/mount.fuse.cairn",
            {"cairn://stor1", "/mnt/a", "-n", "-o",
             "ro,nosuid,nodev,_netdev,noauto,x-systemd.requires=network.target,timeout=7"},
            true);
  ASSERT_TRUE(request.has_value()) << request.error().message();
  EXPECT_TRUE(request->read_only);
  EXPECT_EQ(request->timeout, 7s);
  EXPECT_EQ(request->kernel_options,
            (std::vector<std::string>{"ro", "nosuid", "nodev", "allow_other"}));
  EXPECT_FALSE(request->foreground);
}

TEST(MountOptions, MinusFMeansForegroundForUsAndFakeForMount) {
  EXPECT_TRUE(parse("cairn-mount", {"-f", "cairn://a", "/m"})->foreground);
  EXPECT_TRUE(parse("mount.fuse.cairn", {"cairn://a", "/m", "-f"})->fake);
}

TEST(MountOptions, OnlyTheSuperuserLetsOthersInByDefault) {
  EXPECT_TRUE(has(parse("cairn-mount", {"-c", "a", "/m"}, true)->kernel_options, "allow_other"));
  EXPECT_FALSE(has(parse("cairn-mount", {"-c", "a", "/m"}, false)->kernel_options, "allow_other"));
}

TEST(MountOptions, ValuesInEitherSpelling) {
  const Result<MountRequest> request =
      parse("cairn-mount", {"--cluster=a", "--cache-size=512", "--timeout", "5", "--soft",
                            "--fail-on-nospace", "-l", "/log", "/m"});
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->cache_bytes, 512_MiB);
  EXPECT_EQ(request->timeout, 5s);
  EXPECT_TRUE(request->soft);
  EXPECT_TRUE(request->fail_on_nospace);
  EXPECT_EQ(request->log_file, "/log");
}

TEST(MountOptions, RefusesWhatItDoesNotUnderstand) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"-c", "a"},
      {"/m"},
      {"cairn://a"},
      {"-c"},
      {"-c", "a", "/m", "--colour"},
      {"-c", "a", "/m", "-o", "fast"},
      {"-c", "a", "/m", "--timeout=soon"},
      {"-c", "a", "/m", "--timeout=0"},
      {"-c", "a", "cairn://b", "/m"},
      {"nfs://a", "/m"},
      {"cairn://a", "/m", "/n"},
  };
  for (const std::vector<std::string>& words : wrong) {
    const Result<MountRequest> request = parse("cairn-mount", words);
    ASSERT_FALSE(request.has_value()) << words.size();
    EXPECT_EQ(request.error().code(), Code::kInvalidArgument);
    EXPECT_FALSE(request.error().message().empty());
  }
}

TEST(MountOptions, SloppyHelperIgnoresUnknownOptions) {
  EXPECT_FALSE(parse("mount.fuse.cairn", {"cairn://a", "/m", "-o", "fast"}).has_value());
  EXPECT_TRUE(parse("mount.fuse.cairn", {"cairn://a", "/m", "-s", "-o", "fast"}).has_value());
}

TEST(MountTable, ReadsTheKernelsLines) {
  const std::vector<MountEntry> entries = parse_mountinfo(
      "36 35 0:52 / /mnt/a\\040b rw,noatime master:1 shared:2 - fuse.cairn cairn://stor1 rw\n"
      "nonsense\n"
      "37 35 8:1 / / rw - ext4 /dev/sda1 rw\n");
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0], (MountEntry{"0:52", "/mnt/a b", "fuse.cairn", "cairn://stor1"}));
  EXPECT_EQ(entries[1].type, "ext4");
}

TEST(MountTable, NeverUnmountsWhatIsNotOurs) {
  // "/" is mounted, but is not device 0:0: nothing happens, and that is no error.
  EXPECT_TRUE(unmount("/", "0:0").has_value());
  EXPECT_TRUE(visible_mount("/").has_value());
}

TEST(MountPoint, NamesWhatCannotBeUsed) {
  const Result<std::string> missing = prepare_mount_point("/no/such/directory", "cairn://a");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  const Result<std::string> file = prepare_mount_point("/proc/self/status", "cairn://a");
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code(), Code::kBusy);
  EXPECT_EQ(prepare_mount_point("/usr/../usr/", "cairn://a").value_or(""), "/usr");
}

TEST(Process, NobodyKillsUs) {
  EXPECT_FALSE(fatal_signal_pending(::gettid()));
  EXPECT_TRUE(fatal_signal_pending(0));
}

TEST(Attributes, TimesBefore1970KeepAPositiveFraction) {
  const timespec time = to_timespec(-1);
  EXPECT_EQ(time.tv_sec, -1);
  EXPECT_EQ(time.tv_nsec, 999'999'999);
  EXPECT_EQ(to_nanos(time), -1);
}

TEST(Attributes, TypesMakeTheRoundTrip) {
  for (int type = pb::TYPE_REGULAR; type <= pb::TYPE_BLOCK; ++type) {
    const pb::FileType each = static_cast<pb::FileType>(type);
    EXPECT_EQ(from_mode(to_file_type(each)), each);
  }
  EXPECT_EQ(from_mode(0), pb::TYPE_REGULAR);
}

TEST(RequestMemory, PayloadOfAWriteIsAligned) {
  constexpr std::size_t kHeaders = 80;
  RequestMemory memory;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.at() + kHeaders) % kBlockBytes, 0U);
  memory.at()[kRequestBytesMax - 1] = std::byte{1};
}

TEST(RequestMemory, LargeWritesKeepTheirMemorySmallOnesAreCopied) {
  RequestMemoryPool pool;
  CurrentRequest current(pool);
  const std::byte* const first = current.memory().at();
  {
    const WriteBytes small = current.take(Bytes(first, 4096));
    EXPECT_NE(small.bytes().data(), first);
    EXPECT_EQ(current.memory().at(), first);
    const WriteBytes large = current.take(Bytes(first, 1_MiB));
    EXPECT_EQ(large.bytes().data(), first);
    EXPECT_NE(current.memory().at(), first);
  }
  // Given back: used again by the next request that needs memory.
  const WriteBytes other = current.take(Bytes(current.memory().at(), 1_MiB));
  EXPECT_EQ(current.memory().at(), first);
}

// A runtime that runs what was posted when asked, on a clock of its own.
class StepRuntime final : public runtime::Runtime {
 public:
  Instant now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(); }
  std::uint64_t random() override { return 4; }
  void post(runtime::Callback callback) override { posted_.push_back(std::move(callback)); }
  runtime::TimerId schedule(Instant at, runtime::Callback callback) override {
    timers_.emplace(++last_timer_, std::pair(at, std::move(callback)));
    return last_timer_;
  }
  void cancel(runtime::TimerId timer) override { timers_.erase(timer); }
  void run() {
    while (!posted_.empty()) {
      runtime::Callback next = std::move(posted_.front());
      posted_.pop_front();
      next();
    }
  }
  void pass(Duration duration) {
    now_ = now_ + duration;
    for (auto it = timers_.begin(); it != timers_.end();) {
      if (it->second.first > now_) {
        ++it;
        continue;
      }
      post(std::move(it->second.second));
      it = timers_.erase(it);
    }
    run();
  }

 private:
  Instant now_ = Instant::from_nanos(1);
  std::deque<runtime::Callback> posted_;
  std::map<runtime::TimerId, std::pair<Instant, runtime::Callback>> timers_;
  runtime::TimerId last_timer_ = 0;
};

constexpr InodeId kFile = InodeId::from_raw(5);

struct WritesTest : testing::Test {
  // Starts a read; `done` tells when it may begin.
  void read(InodeId inode, FileRange range, bool* done) {
    tasks.spawn(wait(&writes, inode, range, done));
  }
  static Task<void> wait(WritesUnderWay* writes, InodeId inode, FileRange range, bool* done) {
    co_await writes->before_read(inode, range);
    *done = true;
  }
  StepRuntime runtime;
  WritesUnderWay writes{runtime};
  runtime::TaskGroup tasks{runtime};
};

TEST_F(WritesTest, ReadWaitsForAnOverlappingWriteThatBeganBefore) {
  const WritesUnderWay::Write write = writes.begin(kFile, {4096, 8192});
  bool overlapping = false;
  bool before = false;
  bool behind = false;
  bool other_file = false;
  read(kFile, {8192, 4096}, &overlapping);
  read(kFile, {0, 4096}, &before);
  read(kFile, {12288, 4096}, &behind);
  read(InodeId::from_raw(6), {8192, 4096}, &other_file);
  EXPECT_TRUE(before && behind && other_file);
  EXPECT_FALSE(overlapping);
  EXPECT_TRUE(writes.end(write).empty());
  runtime.run();
  EXPECT_TRUE(overlapping);
}

TEST_F(WritesTest, ReadDoesNotWaitForLaterWrites) {
  const WritesUnderWay::Write first = writes.begin(kFile, {0, 4096});
  bool done = false;
  read(kFile, {0, 4096}, &done);
  const WritesUnderWay::Write second = writes.begin(kFile, {0, 4096});
  EXPECT_TRUE(writes.end(first).empty());
  runtime.run();
  EXPECT_TRUE(done);
  // It read while the second was under way.
  EXPECT_EQ(writes.end(second), (std::vector<FileRange>{{0, 4096}}));
}

TEST_F(WritesTest, ABlockedWriteDoesNotBlockAReadForLong) {
  const WritesUnderWay::Write write =
      writes.begin(kFile, {0, std::numeric_limits<std::uint64_t>::max()});
  bool done = false;
  read(kFile, {1ULL << 40, 4096}, &done);
  runtime.pass(900ms);
  EXPECT_FALSE(done);
  runtime.pass(200ms);
  EXPECT_TRUE(done);
  EXPECT_EQ(writes.end(write), (std::vector<FileRange>{{1ULL << 40, 4096}}));
  EXPECT_FALSE(writes.any(kFile));
}

}  // namespace
}  // namespace cairn::client::fuse
