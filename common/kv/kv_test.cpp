// Property test of every Reader: MemKv, RocksKv and an Overlay over MemKv do the same on random
// programs.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "common/base/prng.h"
#include "common/kv/mem_kv.h"
#include "common/kv/overlay.h"
#include "common/kv/rocks_kv.h"

namespace cairn::kv {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

Rows rows(const Reader& reader, std::string_view begin = {}, std::string_view end = {},
          std::size_t limit = SIZE_MAX) {
  Rows found;
  const Status status = reader.scan(begin, end, [&](std::string_view key, std::string_view value) {
    found.emplace_back(key, value);
    return found.size() < limit;
  });
  EXPECT_TRUE(status.has_value());
  return found;
}

Batch put_one(std::string key, std::string value) {
  Batch batch;
  batch.put(std::move(key), std::move(value));
  return batch;
}

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cairn-kv-XXXXXX").string();
    CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::unique_ptr<RocksKv> open_rocks(const std::filesystem::path& dir) {
  Result<std::unique_ptr<RocksKv>> kv = RocksKv::open(dir);
  CHECK(kv.has_value());
  return std::move(*kv);
}

// Short keys over few letters, 0xff and NUL among them: many hits, many shared prefixes.
std::string random_key(Prng& prng) {
  static constexpr char kLetters[] = {'a', 'b', '\0', '\xff', '\x7f'};
  std::string key;
  for (std::uint64_t n = prng.between(1, 4); n > 0; --n) key += kLetters[prng.below(5)];
  return key;
}

Batch random_batch(Prng& prng) {
  Batch batch;
  for (std::uint64_t n = prng.below(6); n > 0; --n) {
    if (prng.chance(600)) {
      batch.put(random_key(prng), std::string(prng.below(40), static_cast<char>(prng.below(256))));
    } else {
      batch.erase(random_key(prng));
    }
  }
  return batch;
}

TEST(PrefixEnd, IsTheFirstKeyAfterThePrefix) {
  EXPECT_EQ(prefix_end("a"), "b");
  EXPECT_EQ(prefix_end("a\xff"), "b");
  EXPECT_EQ(prefix_end("a\x7f"), "a\x80");
  EXPECT_EQ(prefix_end("\xff\xff"), "");
  EXPECT_EQ(prefix_end(""), "");
}

TEST(Kv, MemRocksAndOverlayAgreeOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Prng prng(seed);
    TempDir dir;
    MemKv model;
    MemKv base;
    Overlay overlay(base);
    std::unique_ptr<RocksKv> rocks = open_rocks(dir.path());
    for (int step = 0; step < 600; ++step) {
      const std::uint64_t what = prng.below(100);
      if (what < 50) {
        const Batch batch = random_batch(prng);
        ASSERT_TRUE(model.write(batch).has_value());
        ASSERT_TRUE(rocks->write(batch).has_value());
        overlay.add(batch);
      } else if (what < 75) {
        const std::string key = random_key(prng);
        const std::optional<std::string> expected = *model.get(key);
        ASSERT_EQ(*rocks->get(key), expected) << "seed " << seed << " step " << step;
        ASSERT_EQ(*overlay.get(key), expected) << "seed " << seed << " step " << step;
      } else if (what < 95) {
        const std::string begin = prng.chance(200) ? "" : random_key(prng);
        const std::string end = prng.chance(300) ? "" : random_key(prng);
        const std::size_t limit = prng.chance(500) ? SIZE_MAX : prng.between(1, 9);
        const Rows expected = rows(model, begin, end, limit);
        ASSERT_EQ(rows(*rocks, begin, end, limit), expected) << "seed " << seed << " step " << step;
        ASSERT_EQ(rows(overlay, begin, end, limit), expected)
            << "seed " << seed << " step " << step;
      } else if (what < 98) {
        ASSERT_TRUE(base.write(overlay.take()).has_value());
        ASSERT_TRUE(overlay.empty());
      } else {
        ASSERT_TRUE(rocks->flush().has_value());
        if (prng.chance(300)) {
          rocks.reset();
          rocks = open_rocks(dir.path());
        }
      }
    }
    EXPECT_EQ(rows(*rocks), rows(model));
    EXPECT_EQ(rows(overlay), rows(model));
  }
}

TEST(MemKv, CrashGoesBackToTheLastFlush) {
  Prng prng(5);
  MemKv kv;
  Rows flushed;
  for (int step = 0; step < 2000; ++step) {
    ASSERT_TRUE(kv.write(random_batch(prng)).has_value());
    if (prng.chance(50)) {
      ASSERT_TRUE(kv.flush().has_value());
      flushed = rows(kv);
      EXPECT_EQ(kv.unflushed(), 0U);
    } else if (prng.chance(50)) {
      kv.crash();
      ASSERT_EQ(rows(kv), flushed) << step;
    }
  }
}

TEST(MemKv, ScanSeesTheStateAtItsCallWhileItsVisitorWrites) {
  MemKv kv;
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(kv.write(put_one(key, "old")).has_value());
  Rows seen;
  const Status status = kv.scan("", "", [&](std::string_view key, std::string_view value) {
    seen.emplace_back(key, value);
    Batch batch;
    batch.erase(std::string(key));
    batch.put("b", "new");
    batch.put("z", "new");
    return kv.write(batch).has_value();
  });
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(seen, (Rows{{"a", "old"}, {"b", "old"}, {"c", "old"}}));
  EXPECT_EQ(rows(kv), (Rows{{"b", "new"}, {"z", "new"}}));
}

// What a view shows does not change, whatever happens to the store; also on another thread.
void expect_view_stays(Kv& kv, const std::function<std::unique_ptr<Reader>()>& make_view) {
  Prng prng(11);
  for (int step = 0; step < 50; ++step) ASSERT_TRUE(kv.write(random_batch(prng)).has_value());
  const Rows expected = rows(kv);
  ASSERT_FALSE(expected.empty());
  const std::unique_ptr<Reader> view = make_view();
  std::atomic<bool> writing{true};
  std::size_t scans = 0;
  std::thread reader([&] {
    do {
      EXPECT_EQ(rows(*view), expected);
      EXPECT_EQ(*view->get(expected.front().first), expected.front().second);
      ++scans;
    } while (writing.load());
  });
  for (int step = 0; step < 200; ++step) {
    EXPECT_TRUE(kv.write(random_batch(prng)).has_value());
    if (step % 20 == 0) {
      EXPECT_TRUE(kv.flush().has_value());
    }
  }
  writing.store(false);
  reader.join();
  EXPECT_GT(scans, 0U);
  EXPECT_NE(rows(kv), expected);
}

TEST(MemKv, AViewStaysAsItWas) {
  MemKv kv;
  expect_view_stays(kv, [&kv] { return kv.view(); });
}

TEST(RocksKv, AViewStaysAsItWas) {
  TempDir dir;
  const std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
  expect_view_stays(*kv, [&kv] { return kv->view(); });
}

TEST(RocksKv, AReadOnlyOpenShowsTheRowsAndChangesNothing) {
  TempDir dir;
  const RocksKv::Options look{.read_only = true};
  EXPECT_EQ(RocksKv::open(dir.path(), look).error().code(), Code::kNotFound);
  {
    const std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
    ASSERT_TRUE(kv->write(put_one("a", "1")).has_value());
  }
  {
    Result<std::unique_ptr<RocksKv>> kv = RocksKv::open(dir.path(), look);
    ASSERT_TRUE(kv.has_value());
    EXPECT_EQ(**(*kv)->get("a"), "1");
    EXPECT_FALSE((*kv)->write(put_one("a", "2")).has_value());
  }
  EXPECT_EQ(**open_rocks(dir.path())->get("a"), "1");
}

TEST(RocksKv, LargeTablesOptionsReadTheSame) {
  TempDir dir;
  const RocksKv::Options large{.write_buffer_bytes = 64_KiB, .large = true};
  Prng prng(3);
  MemKv model;
  {
    Result<std::unique_ptr<RocksKv>> kv = RocksKv::open(dir.path(), large);
    ASSERT_TRUE(kv.has_value());
    for (int step = 0; step < 3000; ++step) {
      Batch batch = put_one("key" + std::to_string(prng.below(5000)),
                            std::string(prng.below(200), static_cast<char>(prng.below(256))));
      ASSERT_TRUE(model.write(batch).has_value());
      ASSERT_TRUE((*kv)->write(batch).has_value());
    }
    EXPECT_EQ(rows(**kv), rows(model));
  }
  // Options of the daemon and of a look from outside are not the same.
  const std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
  EXPECT_EQ(rows(*kv), rows(model));
  for (int i = 0; i < 500; ++i) {
    const std::string key = "key" + std::to_string(prng.below(6000));
    EXPECT_EQ(*kv->get(key), *model.get(key));
  }
}

TEST(Overlay, TakeGivesOneChangePerKeyInOrder) {
  MemKv base;
  Overlay overlay(base);
  overlay.add(put_one("b", "1"));
  overlay.add(put_one("a", "1"));
  overlay.add(put_one("b", "2"));
  Batch gone;
  gone.erase("c");
  overlay.add(gone);
  EXPECT_EQ(overlay.size(), 3U);
  const Batch taken = overlay.take();
  ASSERT_EQ(taken.changes().size(), 3U);
  EXPECT_EQ(taken.changes()[0].key, "a");
  EXPECT_EQ(taken.changes()[1].value, "2");
  EXPECT_FALSE(taken.changes()[2].value.has_value());
  EXPECT_TRUE(rows(overlay).empty());
}

TEST(Overlay, ScanGoesOnWhileItsVisitorAddsAndTakes) {
  MemKv base;
  ASSERT_TRUE(base.write(put_one("b", "base")).has_value());
  Overlay overlay(base);
  overlay.add(put_one("a", "1"));
  overlay.add(put_one("c", "1"));
  Rows seen;
  const Status status = overlay.scan("", "", [&](std::string_view key, std::string_view value) {
    seen.emplace_back(key, value);
    overlay.add(put_one("d", "2"));
    return !overlay.take().empty();
  });
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(seen, (Rows{{"a", "1"}, {"b", "base"}, {"c", "1"}}));
  EXPECT_TRUE(overlay.empty());
}

TEST(RocksKv, ReopenAfterFlushKeepsAll) {
  TempDir dir;
  Rows expected;
  {
    std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
    Prng prng(9);
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(kv->write(random_batch(prng)).has_value());
    ASSERT_TRUE(kv->flush().has_value());
    expected = rows(*kv);
  }
  EXPECT_EQ(rows(*open_rocks(dir.path())), expected);
}

constexpr int kBatches = 400;
constexpr int kLastFlushed = 300;
constexpr const char* kChildDir = "CAIRN_KV_TEST_CHILD_DIR";

// The child of the next test: writes numbered batches, flushes after one of them, dies without
// closing. A process of its own (fork and exec): RocksDB's threads do not survive a bare fork.
TEST(RocksKv, DISABLED_ChildWritesAndDies) {
  const char* dir = std::getenv(kChildDir);
  ASSERT_NE(dir, nullptr);
  // Small buffers: the memtable is also flushed by itself, behind our back.
  const RocksKv::Options small{.block_cache_bytes = 1_MiB, .write_buffer_bytes = 64_KiB};
  Result<std::unique_ptr<RocksKv>> kv = RocksKv::open(dir, small);
  if (!kv.has_value()) _exit(2);
  for (int i = 1; i <= kBatches; ++i) {
    Batch batch;
    batch.put("n" + std::to_string(i), std::string(500, 'x'));
    batch.put("newest", std::to_string(i));
    if (i > 1) batch.erase("m" + std::to_string(i - 1));
    batch.put("m" + std::to_string(i), "mark");
    if (!(*kv)->write(batch).has_value()) _exit(3);
    if (i == kLastFlushed && !(*kv)->flush().has_value()) _exit(4);
  }
  _exit(0);
}

TEST(RocksKv, AKilledProcessLosesOnlyASuffixAfterTheLastFlush) {
  TempDir dir;
  ASSERT_EQ(setenv(kChildDir, dir.path().c_str(), 1), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    execl("/proc/self/exe", "kv_child", "--gtest_filter=RocksKv.DISABLED_ChildWritesAndDies",
          "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    _exit(5);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
  const std::optional<std::string> newest = *kv->get("newest");
  ASSERT_TRUE(newest.has_value());
  const int last = std::stoi(*newest);
  EXPECT_GE(last, kLastFlushed);
  for (int i = 1; i <= kBatches; ++i) {
    EXPECT_EQ(kv->get("n" + std::to_string(i))->has_value(), i <= last) << i;
    EXPECT_EQ(kv->get("m" + std::to_string(i))->has_value(), i == last) << i;
  }
}

TEST(RocksKv, CheckpointIsTheStateAtItsCall) {
  TempDir dir;
  const std::filesystem::path copy = dir.path() / "copy";
  std::unique_ptr<RocksKv> kv = open_rocks(dir.path() / "db");
  ASSERT_TRUE(kv->write(put_one("a", "1")).has_value());
  ASSERT_TRUE(kv->checkpoint(copy).has_value());
  ASSERT_TRUE(kv->write(put_one("a", "2")).has_value());
  EXPECT_EQ(rows(*open_rocks(copy)), (Rows{{"a", "1"}}));
  EXPECT_EQ(rows(*kv), (Rows{{"a", "2"}}));
  EXPECT_FALSE(kv->checkpoint(copy).has_value()) << "the directory exists";
}

TEST(RocksKv, ReportsChangedBytesAsCorrupt) {
  TempDir dir;
  {
    std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
    ASSERT_TRUE(kv->write(put_one("key", std::string(3000, 'v'))).has_value());
    ASSERT_TRUE(kv->flush().has_value());
  }
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    if (entry.path().extension() != ".sst") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5);
    file.put('!');
  }
  const Result<std::unique_ptr<RocksKv>> kv = RocksKv::open(dir.path());
  const Code code = kv.has_value() ? (*kv)->get("key").error().code() : kv.error().code();
  EXPECT_EQ(code, Code::kCorrupt);
}

TEST(RocksKv, RefusesADirectoryThatLostItsCurrentFile) {
  TempDir dir;
  {
    std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
    ASSERT_TRUE(kv->write(put_one("a", "1")).has_value());
    ASSERT_TRUE(kv->flush().has_value());
  }
  std::filesystem::remove(dir.path() / "CURRENT");
  EXPECT_EQ(RocksKv::open(dir.path()).error().code(), Code::kCorrupt);
}

TEST(RocksKv, RefusesASecondOpenAndAMissingDirectory) {
  TempDir dir;
  const std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
  EXPECT_EQ(RocksKv::open(dir.path()).error().code(), Code::kBusy);
  const RocksKv::Options existing{.create = false};
  EXPECT_EQ(RocksKv::open(dir.path() / "none", existing).error().code(), Code::kNotFound);
}

TEST(RocksKv, TellsItsMemory) {
  TempDir dir;
  std::unique_ptr<RocksKv> kv = open_rocks(dir.path());
  ASSERT_TRUE(kv->write(put_one("a", std::string(100'000, 'x'))).has_value());
  EXPECT_GE(kv->stats().memtable_bytes, 100'000U);
  EXPECT_LT(kv->stats().memtable_bytes, 16_MiB);
}

}  // namespace
}  // namespace cairn::kv
