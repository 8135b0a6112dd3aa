// The fixture of the journal's tests: a journal whose records are numbered, and what became of
// them.
#pragma once

#include "chunkserver/store/disk_fixture.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/ring_scan.h"

namespace cairn::chunkserver::store {

constexpr std::uint64_t kDataBlocks = 4096;
constexpr std::uint64_t kHomes = 2048;  // direct and journaled blocks have their homes from here on

class JournalTest : public ::testing::Test {
 protected:
  // A journal over a ring of `blocks`, in the data file or on a drive of its own.
  void begin(std::uint64_t blocks, const std::string& directory = {}) {
    world_.attach();
    const std::uint64_t data_blocks = std::max(kDataBlocks, kReservedBlocks + blocks);
    ASSERT_TRUE(world_.loop.run(world_.data_device->grow(data_blocks * kBlockBytes)).has_value());
    ring_ = make(blocks, directory);
    ASSERT_NE(ring_, nullptr);
    start({}, {});
  }
  std::unique_ptr<RingDevice> make(std::uint64_t blocks, const std::string& directory) {
    if (!directory.empty()) world_.plug(directory);
    const RingPlace place{.id = ++ring_ids_,
                          .first = directory.empty() ? kReservedBlocks : 0,
                          .blocks = blocks,
                          .directory = directory};
    const OpenRing open = world_.open_ring();
    auto ring = world_.loop.run(make_ring(&world_.loop, world_.data_device.get(), place, 5, &open));
    EXPECT_TRUE(ring.has_value());
    return ring.has_value() ? std::move(*ring) : nullptr;
  }
  void start(JournalPosition position, std::vector<RingUsage::Live> live) {
    Journal::Hooks hooks;
    hooks.apply = [this](const CommittedBatch* batch) { return apply(this, batch); };
    hooks.on_pressure = [this] { ++pressure_; };
    hooks.on_failure = [this](const Error& error) { failures_.push_back(error.code()); };
    journal_ =
        std::make_unique<Journal>(world_.loop, *ring_, position, std::move(live), std::move(hooks));
  }
  void TearDown() override {
    if (journal_ == nullptr) return;
    // Whatever the test left full or paused.
    if (!journal_->failure().has_value()) journal_->release(UINT64_MAX);
    end();
    world_.loop.run_for(10s);
  }
  void end() {
    world_.loop.run(journal_->stop());
    journal_.reset();
  }

  static Task<Status> apply(JournalTest* test, const CommittedBatch* batch) {
    EXPECT_FALSE(std::exchange(test->applying_, true));
    EXPECT_EQ(batch->records.size(), batch->bodies.size());
    co_await sleep_for(test->world_.loop, test->apply_takes_);
    EXPECT_TRUE(std::exchange(test->applying_, false));
    test->batches_.push_back(batch->records.size());
    test->positions_.push_back(batch->position);
    test->first_data_blocks_.push_back(batch->first_data_block);
    for (const Record* record : batch->records) {
      test->applied_.push_back(piece_of(*record).chunk.raw());
    }
    if (test->apply_fails_) co_return fail(Code::kCorrupt, "rows contradict");
    co_return Status();
  }
  static Task<void> wait_for(JournalTest* test, Answer done, std::uint64_t chunk) {
    const Status status = co_await done.wait();
    test->answers_.push_back(
        {chunk, status.has_value() ? std::nullopt : std::optional(status.error().code())});
  }
  // Each record's chunk is its number.
  void submit(MadeRecord made, Journal::Urgency urgency = Journal::Urgency::kNow) {
    const std::uint64_t chunk = piece_of(made.record).chunk.raw();
    // Blocks that go straight home are there before.
    if (journaled_blocks(made.record) == 0) made.body = Buffer();
    Answer done = journal_->submit(std::move(made.record), std::move(made.body), urgency);
    waiting_.spawn(wait_for(this, std::move(done), chunk));
  }
  static Task<void> submit_in_a_row(JournalTest* test, int count) {
    for (int i = 0; i < count; ++i) {
      MadeRecord made = test->settle();
      const std::uint64_t chunk = piece_of(made.record).chunk.raw();
      Answer done =
          test->journal_->submit(std::move(made.record), Buffer(), Journal::Urgency::kNow);
      const Status status = co_await done.wait();
      EXPECT_TRUE(status.has_value());
      test->answers_.push_back({chunk, {}});
    }
  }
  MadeRecord journaled(std::uint64_t blocks = 1) { return write(blocks, true); }
  MadeRecord direct(std::uint64_t blocks = 1) { return write(blocks, false); }
  MadeRecord write(std::uint64_t blocks, bool is_journaled) {
    const std::uint64_t home = std::exchange(next_home_, next_home_ + blocks);
    return prepare_of(++next_, 1, {{home, blocks}}, is_journaled, home);
  }
  MadeRecord settle() { return settle_of(++next_, 1); }
  void settle_down() { world_.loop.run_for(100ms); }

  // Chunks of the records of all batches in the ring, of `position` on.
  std::vector<std::uint64_t> scan(RingDevice& ring, JournalPosition position) {
    RingScan scan(ring, position);
    std::vector<std::uint64_t> chunks;
    for (;;) {
      auto batch = world_.loop.run(scan.next());
      EXPECT_TRUE(batch.has_value());
      if (!batch.has_value() || !batch->has_value()) break;
      for (const Record& record : (*batch)->records) chunks.push_back(piece_of(record).chunk.raw());
    }
    EXPECT_TRUE(world_.loop.run(scan.check_nothing_beyond()).has_value());
    return chunks;
  }

  struct Answered {
    std::uint64_t chunk;
    std::optional<Code> code;
    friend bool operator==(const Answered&, const Answered&) = default;
  };
  DiskWorld world_;
  runtime::TaskGroup waiting_{world_.loop};
  std::unique_ptr<RingDevice> ring_;
  std::unique_ptr<Journal> journal_;
  std::uint64_t ring_ids_ = 70;
  std::uint64_t next_ = 0;
  std::uint64_t next_home_ = kHomes;
  bool applying_ = false;
  bool apply_fails_ = false;
  Duration apply_takes_ = {};
  int pressure_ = 0;
  std::vector<std::size_t> batches_;  // records of each
  std::vector<JournalPosition> positions_;
  std::vector<std::uint64_t> first_data_blocks_;
  std::vector<std::uint64_t> applied_;
  std::vector<Answered> answers_;
  std::vector<Code> failures_;
};

}  // namespace cairn::chunkserver::store
