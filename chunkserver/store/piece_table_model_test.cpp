// Random programs on a PieceTable are what they are on plain maps.
#include <algorithm>
#include <thread>

#include "chunkserver/store/piece_program_fixture.h"
#include "chunkserver/store/piece_table_fixture.h"

namespace cairn::chunkserver::store {
namespace {

// A random program on the table, with checkpoints that are begun and ended at any time, a cache
// that is far too small, and restarts: always the same rows as plain maps have.
class PieceTableProgram : public PieceTableTest {
 protected:
  void expect_same_rows(FakeRows& plain) {
    EXPECT_EQ(table_->counters(), plain.counters());
    for (std::uint64_t p = 0; p < PieceProgram::kPieces; ++p) {
      const PieceId id = piece_id(10 + p);
      const PieceRow* const row = table_->piece(id).value();
      const PieceRow* const expected = plain.piece(id).value();
      ASSERT_EQ(row == nullptr, expected == nullptr);
      if (row != nullptr) {
        ASSERT_EQ(*row, *expected);
      }
      for (std::uint32_t n = 0; n <= PieceProgram::kBlocks / kSegmentBlocks; ++n) {
        ASSERT_EQ(*table_->segment(id, n).value(), *plain.segment(id, n).value());
      }
    }
  }
  void expect_same_kv(const FakeRows& plain, Counters counters) {
    kv::MemKv wanted;
    kv::Batch batch;
    for (const auto& [id, row] : plain.pieces) batch.put(piece_key(id), encode(row));
    for (const auto& [key, segment] : plain.segments) {
      if (!segment.empty()) batch.put(segment_key(key.first, key.second), encode(segment));
    }
    for (const auto& [number, region] : plain.regions) {
      if (!region.empty()) batch.put(region_key(number), encode(region));
    }
    batch.put(std::string(kCountersKey), encode(counters));
    batch.put(std::string(kPositionKey), encode(TablePosition()));
    ASSERT_TRUE(wanted.write(batch).has_value());
    std::vector<std::pair<std::string, std::string>> have;
    std::vector<std::pair<std::string, std::string>> want;
    const auto into = [](auto* list) {
      return [list](std::string_view key, std::string_view value) {
        list->emplace_back(key, value);
        return true;
      };
    };
    ASSERT_TRUE(kv_.scan("", "", into(&have)).has_value());
    ASSERT_TRUE(wanted.scan("", "", into(&want)).has_value());
    EXPECT_EQ(have, want);
  }
};

TEST_F(PieceTableProgram, IsWhatPlainMapsAreWhateverComesBetween) {
  int sync_reads = 0;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed * 1000);
    PieceProgram program(seed);
    FakeRows plain;
    PieceIndex plain_index(plain);
    kv_.inner = kv::MemKv();
    make(prng.chance(500) ? 0 : 20'000);
    std::shared_ptr<const PieceTable::Frozen> frozen;
    FakeRows then;  // the rows that were frozen
    for (int step = 0; step < 500; ++step) {
      const Record record = program.next(plain);
      if (prng.chance(800)) {
        ASSERT_TRUE(loop_.run(table_->load_for({&record})).has_value());
        kv_.reads = 0;
      }
      PieceIndex index(*table_);
      const int before = kv_.reads;
      const Status applied = index.apply(record);
      ASSERT_TRUE(applied.has_value()) << applied.error().to_string();
      if (before == 0) sync_reads += kv_.reads;
      kv_.reads = 1;
      ASSERT_TRUE(plain_index.apply(record).has_value());
      const std::vector<Extent> freed = index.take_freed();
      ASSERT_EQ(freed, plain_index.take_freed());
      ASSERT_TRUE(program.freed(freed));
      if (frozen == nullptr && prng.chance(60)) {
        frozen = table_->freeze();
        then = plain;
      } else if (frozen != nullptr && prng.chance(150)) {
        write(*frozen);
        expect_same_kv(then, then.counters());
        if (prng.chance(500)) expect_same_rows(plain);
        table_->checkpointed();
        frozen = nullptr;
      }
      if (prng.chance(300)) table_->trim();
      if (step % 25 == 0) expect_same_rows(plain);
      if (HasFailure()) FAIL() << "step " << step;
    }
    if (frozen != nullptr) {
      write(*frozen);
      table_->checkpointed();
    }
    expect_same_rows(plain);
    checkpoint();
    expect_same_kv(plain, plain.counters());
    const Counters counters = table_->counters();
    make(64_MiB);
    table_->counters() = counters;
    expect_same_rows(plain);
  }
  // load_for() brought what applying looked at.
  EXPECT_EQ(sync_reads, 0);
}

TEST_F(PieceTableProgram, TheSameChangesMakeTheSameBatch) {
  std::vector<std::vector<std::pair<std::string, std::optional<std::string>>>> batches;
  for (int round = 0; round < 2; ++round) {
    kv_.inner = kv::MemKv();
    make(round == 0 ? 0 : 64_MiB);
    PieceProgram program(9);
    for (int step = 0; step < 400; ++step) {
      PieceIndex index(*table_);
      ASSERT_TRUE(index.apply(program.next(*table_)).has_value());
      ASSERT_TRUE(program.freed(index.take_freed()));
      if (step == 200) checkpoint();
      if (step % 7 == 0) table_->trim();
    }
    const auto frozen = table_->freeze();
    batches.emplace_back();
    const kv::Batch batch = frozen->batch(TablePosition());
    for (const kv::Change& change : batch.changes()) {
      batches.back().emplace_back(change.key, change.value);
    }
    table_->checkpointed();
  }
  EXPECT_EQ(batches[0], batches[1]);
  EXPECT_TRUE(std::is_sorted(batches[0].begin(), batches[0].end()));
}

TEST_F(PieceTableProgram, AFrozenBatchMayBeMadeOnAThreadWhileTheRowsChange) {
  PieceProgram program(21);
  const auto run = [&](int steps) {
    for (int step = 0; step < steps; ++step) {
      PieceIndex index(*table_);
      ASSERT_TRUE(index.apply(program.next(*table_)).has_value());
      ASSERT_TRUE(program.freed(index.take_freed()));
    }
  };
  run(200);
  for (int round = 0; round < 5; ++round) {
    const auto frozen = table_->freeze();
    const std::size_t changes = frozen->batch(TablePosition()).changes().size();
    std::vector<kv::Batch> batches;
    std::thread thread([&] {
      for (int i = 0; i < 10; ++i) batches.push_back(frozen->batch(TablePosition()));
    });
    run(100);
    thread.join();
    for (const kv::Batch& batch : batches) {
      ASSERT_EQ(batch.changes().size(), changes);
      for (std::size_t i = 0; i < changes; ++i) {
        ASSERT_EQ(batch.changes()[i].value, batches[0].changes()[i].value);
      }
    }
    ASSERT_TRUE(kv_.write(batches.back()).has_value());
    table_->checkpointed();
  }
}

}  // namespace
}  // namespace cairn::chunkserver::store
