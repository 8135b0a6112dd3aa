// A PieceTable above a MemKv that counts and fails on command, on a loop of virtual time, with
// loads that take as long as the test says.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "chunkserver/store/piece_table.h"
#include "chunkserver/store/rows_fixture.h"
#include "chunkserver/testing/virtual_loop.h"
#include "common/kv/mem_kv.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

// A MemKv that counts what is asked of it, and fails on command.
class CountingKv final : public kv::Kv {
 public:
  Result<std::optional<std::string>> get(std::string_view key) const override {
    ++reads;
    if (failing) return fail(Code::kDiskFailed, "told to fail");
    return inner.get(key);
  }
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override {
    ++reads;
    if (failing) return fail(Code::kDiskFailed, "told to fail");
    return inner.scan(begin, end, visit);
  }
  Status write(const kv::Batch& batch) override { return inner.write(batch); }
  Status flush() override { return inner.flush(); }

  kv::MemKv inner;
  mutable int reads = 0;
  bool failing = false;
};

inline PieceRow row_with(std::uint64_t inode) {
  PieceRow row;
  row.fence.exists = true;
  row.facts.inode = inode;
  return row;
}

class PieceTableTest : public ::testing::Test {
 protected:
  PieceTableTest() { make(64_MiB); }

  void make(ByteCount cache) {
    PieceTable::Options options;
    options.cache_bytes = cache;
    options.offload = [this](std::move_only_function<Status()> job) {
      return later(this, std::move(job));
    };
    table_ = std::make_unique<PieceTable>(loop_, kv_, Counters(), std::move(options));
  }
  // The job runs in a later turn, or when it is let go.
  static Task<Status> later(PieceTableTest* self, std::move_only_function<Status()> job) {
    ++self->jobs_;
    co_await runtime::yield_turn(self->loop_);
    Status status = job();
    while (self->held_) co_await runtime::sleep_for(self->loop_, 1ms);
    co_return status;
  }
  static Task<void> note_load(PieceTable* table, PieceId piece, std::vector<BlockRange> ranges,
                              int* done) {
    const Status status = co_await table->load(piece, std::move(ranges));
    EXPECT_TRUE(status.has_value());
    ++*done;
  }
  static Task<void> note_next(PieceTable* table, std::optional<PieceId>* next, int* done) {
    Result<std::optional<PieceId>> found = co_await table->next_piece(std::nullopt);
    EXPECT_TRUE(found.has_value());
    *next = *found;
    ++*done;
  }
  Status load(PieceId piece, std::vector<BlockRange> ranges) {
    return loop_.run(table_->load(piece, std::move(ranges)));
  }
  std::optional<PieceId> next(std::optional<PieceId> after) {
    return loop_.run(table_->next_piece(after)).value();
  }
  void write(const PieceTable::Frozen& frozen) {
    ASSERT_TRUE(kv_.write(frozen.batch(TablePosition{})).has_value());
  }
  void checkpoint() {
    const auto frozen = table_->freeze();
    write(*frozen);
    table_->checkpointed();
  }
  // Everything clean is gone from memory.
  void forget() {
    checkpoint();
    make(64_MiB);
  }
  void put_piece(PieceId piece, std::uint64_t inode) {
    *table_->change_piece(piece).value() = row_with(inode);
  }
  void put_block(PieceId piece, std::uint64_t block, std::uint64_t disk) {
    const auto number = static_cast<std::uint32_t>(block / kSegmentBlocks);
    table_->change_segment(piece, number).value()->set(block % kSegmentBlocks, {disk, 1});
    ++table_->change_piece(piece).value()->blocks;
  }
  std::uint64_t disk_of(PieceId piece, std::uint64_t block) {
    const auto number = static_cast<std::uint32_t>(block / kSegmentBlocks);
    return table_->segment(piece, number).value()->get(block % kSegmentBlocks).disk;
  }
  std::optional<std::uint64_t> inode_of(PieceId piece) {
    const PieceRow* const row = table_->piece(piece).value();
    if (row == nullptr) return std::nullopt;
    return row->facts.inode;
  }
  std::optional<PieceRow> stored(PieceId piece) { return load_piece(kv_, piece).value(); }

  testing::VirtualLoop loop_{1};
  CountingKv kv_;
  std::unique_ptr<PieceTable> table_;
  int jobs_ = 0;
  bool held_ = false;
};

}  // namespace cairn::chunkserver::store
