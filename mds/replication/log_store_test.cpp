#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/base/prng.h"
#include "mds/replication/file_log_store.h"
#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::replication {
namespace {

namespace fs = std::filesystem;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "cairn-log-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string text_of(std::uint64_t slot) {
  Prng prng(slot);
  return std::string(prng.below(60), static_cast<char>('a' + slot % 26));
}

std::vector<Entry> batch(std::uint64_t first, std::size_t count) {
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < count; ++i) {
    entries.push_back(Entry{.slot = Slot(first + i), .bytes = text_of(first + i)});
  }
  return entries;
}

struct Seen {
  std::vector<std::uint64_t> slots;
  EntryVisitor visitor() {
    return [this](Slot slot, std::string_view bytes) {
      EXPECT_EQ(bytes, text_of(slot.raw()));
      slots.push_back(slot.raw());
      return Status();
    };
  }
};

Bytes bytes_of(const std::string& text) { return as_bytes(text); }

// The completion of the store's thread arrives as a post: a runtime whose post is locked.
class ThreadedRuntime final : public runtime::Runtime {
 public:
  Instant now() const override { return Instant(); }
  WallTime wall_now() const override { return WallTime(); }
  std::uint64_t random() override { return 4; }
  void post(runtime::Callback callback) override {
    const std::lock_guard guard(mutex_);
    ready_.push_back(std::move(callback));
    wake_.notify_one();
  }
  runtime::TimerId schedule(Instant, runtime::Callback) override { return 0; }
  void cancel(runtime::TimerId) override {}
  template <class T>
  T run(Task<T> task) {
    runtime::TaskGroup group(*this);
    testing::Outcome<T> outcome(group, std::move(task));
    while (!outcome.done()) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !ready_.empty(); });
      runtime::Callback callback = std::move(ready_.front());
      ready_.pop_front();
      lock.unlock();
      callback();
    }
    return std::move(outcome.value());
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<runtime::Callback> ready_;
};

TEST(LogFormat, HasStableBytes) {
  std::string bytes;
  encode_batch({Entry{.slot = Slot(7), .bytes = "hi"}}, &bytes);
  ASSERT_EQ(bytes.size(), kRecordHeaderBytes + 2);
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex.substr(0, 56),
            "43444c3102000000070000000000000007000000000000000100000"
            "0");
  EXPECT_EQ(hex.substr(64), "6869");
}

TEST(LogFormat, CutsATornTailAtEveryByte) {
  std::string whole;
  encode_batch(batch(1, 3), &whole);
  const std::size_t durable = whole.size();
  encode_batch(batch(4, 4), &whole);
  for (std::size_t length = durable; length < whole.size(); ++length) {
    // The file was preallocated: what did not arrive reads as zeros.
    for (const std::size_t zeros : {std::size_t{0}, std::size_t{500}}) {
      const std::string torn = whole.substr(0, length) + std::string(zeros, '\0');
      Seen seen;
      const Result<ScannedSegment> scanned = scan_segment(bytes_of(torn), Slot(1), seen.visitor());
      ASSERT_TRUE(scanned.has_value()) << length << " " << scanned.error().to_string();
      EXPECT_EQ(scanned->end, durable);
      EXPECT_EQ(scanned->next, Slot(4));
      EXPECT_EQ(seen.slots, (std::vector<std::uint64_t>{1, 2, 3}));
    }
  }
}

TEST(LogFormat, TakesAnyDamageOfTheLastBatchForATornWrite) {
  std::string whole;
  encode_batch(batch(1, 2), &whole);
  const std::size_t durable = whole.size();
  encode_batch(batch(3, 5), &whole);
  for (std::size_t at = durable; at < whole.size(); ++at) {
    std::string torn = whole;
    torn[at] = static_cast<char>(torn[at] ^ 0x40);
    Seen seen;
    const Result<ScannedSegment> scanned = scan_segment(bytes_of(torn), Slot(1), seen.visitor());
    ASSERT_TRUE(scanned.has_value()) << at;
    EXPECT_EQ(scanned->end, durable) << at;
    EXPECT_TRUE(scanned->torn);
    EXPECT_EQ(seen.slots.size(), 2U);
  }
}

TEST(LogFormat, CallsDamageBeforeALaterBatchCorrupt) {
  std::string whole;
  encode_batch(batch(1, 3), &whole);
  const std::size_t damaged_to = whole.size();
  encode_batch(batch(4, 2), &whole);
  whole += std::string(300, '\0');
  for (std::size_t at = 0; at < damaged_to; ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    Seen seen;
    const Result<ScannedSegment> scanned = scan_segment(bytes_of(damaged), Slot(1), seen.visitor());
    ASSERT_FALSE(scanned.has_value()) << at;
    EXPECT_EQ(scanned.error().code(), Code::kCorrupt);
  }
}

TEST(LogFormat, NeverCrashesOnRandomBytes) {
  Prng prng(11);
  std::string whole;
  encode_batch(batch(1, 6), &whole);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = whole.substr(0, prng.below(whole.size()));
    for (std::uint64_t hits = prng.below(4); hits > 0 && !bytes.empty(); --hits) {
      bytes[prng.below(bytes.size())] = static_cast<char>(prng.next());
    }
    const EntryVisitor nothing = [](Slot, std::string_view) { return Status(); };
    const Result<ScannedSegment> scanned = scan_segment(bytes_of(bytes), Slot(1), nothing);
    if (scanned.has_value()) {
      EXPECT_LE(scanned->end, bytes.size());
    }
  }
}

class FileLog : public ::testing::Test {
 protected:
  std::unique_ptr<FileLogStore> open(ByteCount segment_bytes = 2000) {
    auto store = FileLogStore::open(runtime_, directory_.path() / "log",
                                    {.segment_bytes = segment_bytes, .zero_ahead_bytes = 4096});
    EXPECT_TRUE(store.has_value()) << store.error().to_string();
    return store.has_value() ? std::move(*store) : nullptr;
  }
  fs::path segment(std::uint64_t first) {
    return directory_.path() / "log" / segment_name(Slot(first));
  }
  void append(FileLogStore& store, std::uint64_t to) {
    while (store.last_slot().raw() < to) {
      const Status done = runtime_.run(store.append(batch(store.last_slot().raw() + 1, 1)));
      ASSERT_TRUE(done.has_value()) << done.error().to_string();
    }
  }
  ThreadedRuntime runtime_;
  TemporaryDirectory directory_;
};

TEST_F(FileLog, KeepsEverythingOverAReopen) {
  auto store = open();
  append(*store, 100);
  EXPECT_GT(store->segments(), 2U);
  store.reset();
  store = open();
  EXPECT_EQ(store->last_slot(), Slot(100));
  append(*store, 120);
  Seen seen;
  ASSERT_TRUE(store->read_from(Slot(37), seen.visitor()).has_value());
  ASSERT_EQ(seen.slots.size(), 84U);
  EXPECT_EQ(seen.slots.front(), 37U);
  EXPECT_EQ(seen.slots.back(), 120U);
}

TEST_F(FileLog, CutsATornTailAndGoesOn) {
  auto store = open();
  append(*store, 10);
  store.reset();
  std::string torn;
  encode_batch(batch(11, 3), &torn);
  {
    // Where the next batch would begin: after the records, before the zeros.
    std::string exact;
    for (std::uint64_t slot = 1; slot <= 10; ++slot) encode_batch(batch(slot, 1), &exact);
    std::fstream file(segment(1), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(exact.size()));
    file.write(torn.data(), static_cast<std::streamsize>(torn.size() - 5));
  }
  store = open();
  EXPECT_EQ(store->last_slot(), Slot(10));
  EXPECT_GT(store->torn_bytes(), 0U);
  append(*store, 12);
  store.reset();
  store = open();
  Seen seen;
  ASSERT_TRUE(store->read_from(Slot(1), seen.visitor()).has_value());
  EXPECT_EQ(seen.slots.size(), 12U);
}

TEST_F(FileLog, RefusesADamagedMiddle) {
  auto store = open();
  append(*store, 100);
  store.reset();
  {
    std::fstream file(segment(1), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('\x7f');
  }
  store = open();
  Seen seen;
  const Status read = store->read_from(Slot(1), seen.visitor());
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code(), Code::kCorrupt);
}

TEST_F(FileLog, RefusesAMissingSegment) {
  auto store = open();
  append(*store, 200);
  ASSERT_GT(store->segments(), 3U);
  store.reset();
  std::vector<fs::path> names;
  for (const auto& entry : fs::directory_iterator(directory_.path() / "log")) {
    names.push_back(entry.path());
  }
  std::sort(names.begin(), names.end());
  fs::remove(names[1]);
  store = open();
  Seen seen;
  const Status read = store->read_from(Slot(1), seen.visitor());
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code(), Code::kCorrupt);
}

TEST_F(FileLog, TruncatesWholeSegmentsOnly) {
  auto store = open();
  append(*store, 200);
  const std::size_t before = store->segments();
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(150))).has_value());
  EXPECT_LT(store->segments(), before);
  Seen seen;
  ASSERT_TRUE(store->read_from(Slot(150), seen.visitor()).has_value());
  EXPECT_EQ(seen.slots.size(), 51U);
  store.reset();
  store = open();
  EXPECT_EQ(store->last_slot(), Slot(200));
  const Status early = store->read_from(Slot(1), seen.visitor());
  ASSERT_FALSE(early.has_value());
  EXPECT_EQ(early.error().code(), Code::kCorrupt);
  ASSERT_TRUE(runtime_.run(store->truncate_before(Slot(10'000))).has_value());
  EXPECT_EQ(store->segments(), 1U);
}

}  // namespace
}  // namespace cairn::mds::replication
