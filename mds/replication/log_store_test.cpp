// FileLogStore on real files, and MemLogStore against it.
#include <gtest/gtest.h>

#include <fstream>

#include "mds/replication/file_log_store.h"
#include "mds/replication/log_fixture.h"
#include "mds/replication/mem_log_store.h"

namespace cairn::mds::replication {
namespace {

using testing::accept, testing::ballot, testing::chosen, testing::describe, testing::learn,
    testing::promise, testing::random_record, testing::Records, testing::recovery,
    testing::TemporaryDirectory, testing::ThreadedRuntime;
namespace fs = std::filesystem;

constexpr std::size_t kMany = 1'000'000;

class FileLog : public ::testing::Test {
 protected:
  Result<std::unique_ptr<FileLogStore>> try_open(ByteCount segment_bytes = 2000) {
    return FileLogStore::open(runtime_, log(),
                              {.segment_bytes = segment_bytes, .zero_ahead_bytes = 8192});
  }
  std::unique_ptr<FileLogStore> open(ByteCount segment_bytes = 2000) {
    auto store = try_open(segment_bytes);
    EXPECT_TRUE(store.has_value()) << store.error().to_string();
    return std::move(*store);
  }
  Code open_error() {
    const auto store = try_open();
    return store.has_value() ? Code() : store.error().code();
  }
  fs::path log() const { return directory_.path() / "log"; }
  std::vector<fs::path> files() const {
    std::vector<fs::path> names;
    for (const auto& entry : fs::directory_iterator(log())) names.push_back(entry.path());
    std::ranges::sort(names);
    return names;
  }
  void append(FileLogStore& store, Records batch) {
    const Status done = runtime_.run(store.append(std::move(batch)));
    ASSERT_TRUE(done.has_value()) << done.error().to_string();
  }
  void fill(FileLogStore& store, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t slot = from; slot <= to; ++slot) {
      append(store, {accept(2, slot, fmt::format("value {}", slot))});
    }
  }
  std::string read(FileLogStore& store, std::uint64_t from, std::size_t slots = kMany,
                   ByteCount bytes = 1_GiB) {
    return describe(runtime_.run(store.read(Slot(from), slots, bytes)));
  }
  static std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void put(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  ThreadedRuntime runtime_;
  TemporaryDirectory directory_;
};

TEST_F(FileLog, IsEmptyWhenNew) {
  auto store = open();
  EXPECT_TRUE(store->state().empty);
  EXPECT_EQ(store->first_slot(), Slot());
  EXPECT_EQ(store->last_slot(), Slot());
  EXPECT_EQ(store->size_bytes(), 0U);
  EXPECT_EQ(runtime_.run(store->read(Slot(1), 1, 1)).error().code(), Code::kNotFound);
}

TEST_F(FileLog, KeepsEverythingOverAReopen) {
  auto store = open();
  append(*store, {promise(2), recovery(true, 4)});
  fill(*store, 1, 100);
  append(*store, {learn(101, "learned"), chosen(101)});
  EXPECT_GT(store->segments(), 3U);
  const std::string state = describe(store->state());
  EXPECT_EQ(state, "promised 2.1 chosen 101 recovering true until 4 empty false");
  const std::string values = describe(store->accepted_after(Slot()));
  EXPECT_EQ(store->flushes(), 102U);
  store.reset();
  store = open();
  EXPECT_EQ(describe(store->state()), state);
  EXPECT_EQ(describe(store->accepted_after(Slot())), values);
  EXPECT_EQ(describe(store->accepted_after(Slot(99))), "100@2.1=2'value 100' 101@0.0=2'learned' ");
  EXPECT_EQ(store->first_slot(), Slot(1));
  EXPECT_EQ(store->last_slot(), Slot(101));
  EXPECT_EQ(store->torn_bytes(), 0U);
  fill(*store, 102, 120);
  EXPECT_EQ(read(*store, 119), "119=2'value 119' 120=2'value 120' ");
  EXPECT_EQ(read(*store, 50, 2), "50=2'value 50' 51=2'value 51' ");
  EXPECT_EQ(read(*store, 50, kMany, 1), "50=2'value 50' ");
}

TEST_F(FileLog, AnswersTheNewestRecordOfASlotAndTheLearnedOneBeforeAll) {
  auto store = open();
  append(*store, {accept(1, 1, "old"), accept(1, 2, "old"), accept(1, 3, "old")});
  append(*store, {accept(3, 2, "new"), learn(3, "true")});
  append(*store, {accept(4, 3, "late")});
  const std::string expected = "1=2'old' 2=2'new' 3=2'true' ";
  EXPECT_EQ(read(*store, 1), expected);
  store.reset();
  store = open();
  EXPECT_EQ(read(*store, 1), expected);
  EXPECT_EQ(store->state().promised, ballot(4));
}

TEST_F(FileLog, TruncationKeepsTheStateAndTheSlotsFromThereOn) {
  auto store = open();
  append(*store, {promise(7, 3), chosen(1), recovery(true, 99)});
  fill(*store, 1, 200);
  append(*store, {chosen(190)});
  const std::string state = describe(store->state());
  const std::size_t before = store->segments();
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(150))).has_value());
  EXPECT_LT(store->segments(), before);
  EXPECT_EQ(files().size(), store->segments());
  EXPECT_EQ(store->first_slot(), Slot(150));
  EXPECT_EQ(runtime_.run(store->read(Slot(1), 1, 1)).error().code(), Code::kNotFound);
  const std::string tail = read(*store, 150);
  store.reset();
  store = open();
  // Nothing was appended since: some of it may be there.
  EXPECT_GT(store->first_slot(), Slot(100));
  EXPECT_EQ(describe(store->state()), state);
  EXPECT_EQ(read(*store, 150), tail);
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(10'000))).has_value());
  EXPECT_EQ(store->segments(), 1U);
  store.reset();
  store = open();
  EXPECT_EQ(describe(store->state()), state);
  fill(*store, 201, 210);
  EXPECT_EQ(store->last_slot(), Slot(210));
}

TEST_F(FileLog, KeepsALearnedValueThatAnOlderSegmentHadWhenThatIsGone) {
  auto store = open();
  append(*store, {learn(1, "true")});
  append(*store, {accept(2, 2, std::string(3000, 'x'))});
  append(*store, {accept(2, 1, "late"), accept(2, 3, "three")});
  ASSERT_EQ(store->segments(), 2U);
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(3))).has_value());
  ASSERT_EQ(store->segments(), 1U);
  store.reset();
  store = open();
  EXPECT_EQ(store->first_slot(), Slot(3));
}

TEST_F(FileLog, DoesNotAnswerWhatWasCutOffAlsoAfterAReopen) {
  auto store = open(1_MiB);
  append(*store, {promise(3), chosen(2)});
  fill(*store, 1, 10);
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(8))).has_value());
  // All in one segment that stays.
  ASSERT_EQ(store->segments(), 1U);
  EXPECT_EQ(store->first_slot(), Slot(8));
  EXPECT_EQ(runtime_.run(store->read(Slot(7), 1, 1)).error().code(), Code::kNotFound);
  append(*store, {accept(3, 5, "late"), accept(3, 11, "next")});
  EXPECT_EQ(store->first_slot(), Slot(8));
  store.reset();
  store = open(100);
  EXPECT_EQ(store->first_slot(), Slot(8));
  EXPECT_EQ(runtime_.run(store->read(Slot(7), 1, 1)).error().code(), Code::kNotFound);
  // The next segments know it, too.
  append(*store, {accept(3, 12, "first of its segment")});
  append(*store, {accept(3, 13, "")});
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(12))).has_value());
  EXPECT_EQ(store->segments(), 2U);
  append(*store, {learn(3, "far below")});
  store.reset();
  store = open(100);
  EXPECT_EQ(store->first_slot(), Slot(12));
}

TEST_F(FileLog, SurvivesACrashRightAfterASegmentWasMade) {
  auto store = open();
  append(*store, {promise(9, 2), chosen(5)});
  fill(*store, 1, 60);
  const std::string state = describe(store->state());
  const Lsn next = store->last_lsn().next();
  store.reset();
  put(log() / segment_name(next), "");
  store = open();
  EXPECT_EQ(describe(store->state()), state);
  // Nothing goes before the new one has its prologue.
  const std::size_t segments = store->segments();
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(61))).has_value());
  EXPECT_EQ(store->segments(), 2U);
  EXPECT_GT(segments, 2U);
  append(*store, {accept(9, 61, "more")});
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(61))).has_value());
  EXPECT_EQ(store->segments(), 1U);
  store.reset();
  store = open();
  EXPECT_EQ(store->state().promised, ballot(9, 2));
  EXPECT_EQ(store->state().chosen, Slot(5));
  EXPECT_EQ(read(*store, 61), "61=2'more' ");
}

TEST_F(FileLog, ACutTailLeavesWholeBatchesOnly) {
  auto store = open(1_MiB);
  std::vector<ByteCount> ends = {0};
  std::vector<std::string> states = {describe(LogState())};
  Prng prng(5);
  for (int batch = 0; batch < 8; ++batch) {
    Records records;
    for (std::uint64_t n = prng.between(1, 3); n > 0; --n)
      records.push_back(random_record(prng, 9));
    append(*store, records);
    ends.push_back(store->size_bytes());
    states.push_back(describe(store->state()) + describe(store->accepted_after(Slot())));
  }
  store.reset();
  const fs::path path = log() / segment_name(Lsn(1));
  const std::string whole = content(path);
  // Every byte: log_format_test.cpp. Here, what the store makes of it.
  for (ByteCount length = 0; length <= ends.back(); length += 7) {
    put(path, whole.substr(0, length));
    store = open(1_MiB);
    const auto batches =
        static_cast<std::size_t>(std::ranges::upper_bound(ends, length) - ends.begin()) - 1;
    ASSERT_EQ(store->size_bytes(), ends[batches]) << length;
    ASSERT_EQ(store->torn_bytes(), length - ends[batches]) << length;
    if (batches > 0) {
      ASSERT_EQ(describe(store->state()) + describe(store->accepted_after(Slot())),
                states[batches]);
    }
    if (length % 98 == 0) {
      // It goes on from there.
      append(*store, {accept(77, 70, "after")});
      store.reset();
      store = open(1_MiB);
      EXPECT_EQ(read(*store, 70), "70=2'after' ");
    }
    store.reset();
  }
}

TEST_F(FileLog, AFlippedBitIsDetectedOrCutsTheLastBatch) {
  auto store = open();
  append(*store, {promise(3)});
  fill(*store, 1, 40);
  append(*store, {accept(3, 41, "last"), chosen(40)});
  ASSERT_GE(store->segments(), 2U);
  const ByteCount all = store->size_bytes();
  store.reset();
  const ByteCount last_batch = 2 * kRecordHeaderBytes + 21 + 4 + 8;
  ByteCount before = 0;  // bytes of the segments before
  Prng prng(8);
  for (const fs::path& path : files()) {
    const std::string whole = content(path);
    const ByteCount used = path == files().back() ? all - before : whole.find_last_not_of('\0') + 1;
    for (ByteCount at = 0; at < used; at += 5) {
      std::string damaged = whole;
      const unsigned bit = static_cast<unsigned>(prng.below(8));
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ (1U << bit));
      put(path, damaged);
      const auto reopened = try_open();
      if (before + at < all - last_batch) {
        ASSERT_FALSE(reopened.has_value()) << path << " " << at;
        EXPECT_EQ(reopened.error().code(), Code::kCorrupt);
      } else {
        ASSERT_TRUE(reopened.has_value()) << path << " " << at;
        EXPECT_EQ((*reopened)->last_slot(), Slot(40));
      }
    }
    put(path, whole);
    before += used;
  }
  EXPECT_EQ(open()->last_slot(), Slot(41));
}

TEST_F(FileLog, RefusesAMissingSegment) {
  auto store = open();
  fill(*store, 1, 200);
  ASSERT_GT(store->segments(), 3U);
  store.reset();
  fs::rename(files()[1], directory_.path() / "kept");
  EXPECT_EQ(open_error(), Code::kCorrupt);
}

TEST_F(FileLog, RefusesAnOldestSegmentWithoutItsPrologue) {
  auto store = open();
  fill(*store, 1, 100);
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(100))).has_value());
  ASSERT_EQ(store->segments(), 1U);
  store.reset();
  put(files()[0], "");
  EXPECT_EQ(open_error(), Code::kCorrupt);
}

TEST_F(FileLog, SaysWhatToDoWithALogOfBeforeReplication) {
  fs::create_directory(log());
  put(log() / segment_name(Lsn(1)), std::string("CDL1\0\0\0\0", 8) + std::string(60, '\0'));
  const auto store = try_open();
  ASSERT_FALSE(store.has_value());
  EXPECT_EQ(store.error().code(), Code::kUnsupported);
  EXPECT_NE(store.error().message().find("before MDS replication"), std::string::npos);
}

TEST_F(FileLog, SetsADamagedLogAsideUnderAFreeName) {
  for (const char* name : {"log.damaged-1", "log.damaged-2", "log.damaged-3"}) {
    auto store = open();
    fill(*store, 1, 3);
    store.reset();
    const Result<fs::path> aside = set_aside(log());
    ASSERT_TRUE(aside.has_value()) << aside.error().to_string();
    EXPECT_EQ(aside->filename(), name);
    EXPECT_FALSE(fs::exists(log()));
    EXPECT_TRUE(fs::exists(*aside / segment_name(Lsn(1))));
  }
  EXPECT_TRUE(open()->state().empty);
  EXPECT_FALSE(set_aside(directory_.path() / "none").has_value());
}

TEST_F(FileLog, ReadsBesideAppendsAndTruncation) {
  auto store = open(20'000);
  fill(*store, 1, 50);
  std::deque<mds::testing::Outcome<Result<std::vector<Entry>>>> reads;
  std::deque<std::uint64_t> wanted;
  runtime::TaskGroup group(runtime_);
  Prng prng(4);
  std::size_t gone = 0;
  for (std::uint64_t slot = 51; slot <= 400; ++slot) {
    wanted.push_back(prng.between(1, slot - 1));
    reads.emplace_back(group, store->read(Slot(wanted.back()), 30, 1_MiB));
    mds::testing::Outcome<Status> appended(
        group, store->append({accept(2, slot, fmt::format("value {}", slot))}));
    if (slot % 40 == 0) {
      mds::testing::Outcome<Status> cut(group, store->truncate_before(Slot(slot - 30)));
      while (!cut.done()) runtime_.step();
      EXPECT_TRUE(cut.value().has_value());
    }
    while (!appended.done()) runtime_.step();
    ASSERT_TRUE(appended.value().has_value());
    while (!reads.empty() && reads.front().done()) {
      const Result<std::vector<Entry>>& entries = reads.front().value();
      if (!entries.has_value()) {
        EXPECT_EQ(entries.error().code(), Code::kNotFound) << entries.error().to_string();
        ++gone;
      } else {
        ASSERT_FALSE(entries->empty());
        for (std::size_t i = 0; i < entries->size(); ++i) {
          const std::uint64_t at = wanted.front() + i;
          EXPECT_EQ((*entries)[i].slot, Slot(at));
          EXPECT_EQ(*(*entries)[i].value.bytes, fmt::format("value {}", at));
        }
      }
      reads.pop_front();
      wanted.pop_front();
    }
  }
  EXPECT_GT(gone, 10U);
  while (group.running() != 0) runtime_.step();
}

TEST_F(FileLog, ReportsADamagedRecordWhenItIsRead) {
  auto store = open(1_MiB);
  fill(*store, 1, 10);
  {
    std::fstream file(log() / segment_name(Lsn(1)),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(55);
    file.put('\x7f');
  }
  EXPECT_NE(read(*store, 1).find("is damaged"), std::string::npos);
  EXPECT_EQ(read(*store, 10), "10=2'value 10' ");
}

TEST_F(FileLog, IsFencedAfterAFailedWrite) {
  auto store = open();
  fill(*store, 1, 3);
  // The next segment cannot be made.
  fs::rename(log(), directory_.path() / "elsewhere");
  Status failed;
  for (int i = 0; i < 100 && failed.has_value(); ++i) {
    failed = runtime_.run(store->append({accept(2, 4, std::string(500, 'x'))}));
  }
  ASSERT_FALSE(failed.has_value());
  fs::rename(directory_.path() / "elsewhere", log());
  const Status again = runtime_.run(store->append({chosen(1)}));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code(), Code::kDiskFailed);
  store.reset();
  EXPECT_EQ(open()->first_slot(), Slot(1));
}

// ---- MemLogStore behaves as FileLogStore ----

template <class T>
T run(mds::testing::VirtualRuntime& runtime, Task<T> task) {
  runtime::TaskGroup group(runtime);
  mds::testing::Outcome<T> outcome(group, std::move(task));
  EXPECT_TRUE(runtime.run_until([&] { return outcome.done(); }, 10s));
  return std::move(outcome.value());
}

TEST_F(FileLog, AgreesWithTheMemoryStoreOnRandomPrograms) {
  mds::testing::VirtualRuntime virtual_runtime;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Prng prng(seed);
    fs::remove_all(log());
    const ByteCount segment_bytes = prng.between(200, 3000);
    auto file = open(segment_bytes);
    MemLogStore memory(virtual_runtime, 1ms);
    std::uint64_t floor = 0;
    for (int step = 0; step < 80; ++step) {
      Records batch;
      for (std::uint64_t n = prng.between(1, 4); n > 0; --n) {
        batch.push_back(random_record(prng, 10 + static_cast<std::uint64_t>(step)));
      }
      append(*file, batch);
      ASSERT_TRUE(run(virtual_runtime, memory.append(batch)).has_value());
      if (prng.chance(60)) {
        floor = std::max(floor, prng.below(static_cast<std::uint64_t>(step) + 1));
        ASSERT_TRUE(runtime_.run(file->truncate_before(Slot(floor))).has_value());
        ASSERT_TRUE(run(virtual_runtime, memory.truncate_before(Slot(floor))).has_value());
      }
      if (prng.chance(40)) {
        file.reset();
        file = open(segment_bytes);
        // The driver says again what it does not need, before anything is accepted.
        ASSERT_TRUE(runtime_.run(file->truncate_before(Slot(floor))).has_value());
      }
      ASSERT_EQ(describe(file->state()), describe(memory.state())) << seed << " " << step;
      const Slot after(floor + prng.below(20));
      ASSERT_EQ(describe(file->accepted_after(after)), describe(memory.accepted_after(after)));
      const Slot from(std::max<std::uint64_t>(floor, 1) + prng.below(20));
      const std::size_t slots = prng.between(1, 10);
      ASSERT_EQ(describe(runtime_.run(file->read(from, slots, 1_MiB))),
                describe(run(virtual_runtime, memory.read(from, slots, 1_MiB))));
    }
  }
}

// A task of a process that is killed: it stands where it was, and is thrown away.
class Killed {
 public:
  Killed(Task<Status> task, bool* done) : frame_(start(std::move(task), done).frame) {}
  Killed(const Killed&) = delete;
  Killed& operator=(const Killed&) = delete;
  ~Killed() { frame_.destroy(); }

 private:
  struct Started {
    struct promise_type {
      Started get_return_object() {
        return {std::coroutine_handle<promise_type>::from_promise(*this)};
      }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_always final_suspend() noexcept { return {}; }
      void return_void() {}
      [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
    };
    std::coroutine_handle<promise_type> frame;
  };
  static Started start(Task<Status> task, bool* done) {
    const Status status = co_await task;
    *done = true;
  }
  std::coroutine_handle<> frame_;
};

TEST(MemLog, LosesTheAppendsUnderWayAtACrash) {
  mds::testing::VirtualRuntime runtime;
  MemLogStore store(runtime, 5ms);
  ASSERT_TRUE(run(runtime, store.append({promise(1)})).has_value());
  bool done = false;
  const Killed killed(store.append({promise(5)}), &done);
  store.crash();
  runtime.run_for(1s);
  EXPECT_FALSE(done);
  EXPECT_EQ(store.state().promised, ballot(1));
  ASSERT_TRUE(run(runtime, store.append({promise(2)})).has_value());
  EXPECT_EQ(store.state().promised, ballot(2));
  store.wipe();
  EXPECT_TRUE(store.state().empty);
  EXPECT_EQ(store.first_slot(), Slot());
  store.fail_from_now();
  EXPECT_EQ(run(runtime, store.append({promise(2)})).error().code(), Code::kDiskFailed);
}

}  // namespace
}  // namespace cairn::mds::replication
