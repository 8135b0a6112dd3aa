// What the tests of this folder share: a store in memory that rots as told, and a log that keeps
// its lines.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/care/store_door.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"
#include "common/observe/log.h"

namespace cairn::chunkserver::care::testing {

inline PieceId piece_id(std::uint64_t chunk, std::uint8_t index = 0) {
  return {ChunkId::from_raw(chunk), PieceIndex(index)};
}

// A block of bytes that depend on `seed` only.
inline Buffer random_block(std::uint64_t seed) {
  Buffer block = Buffer::allocate(kBlockBytes);
  Prng prng(seed);
  for (std::size_t at = 0; at < kBlockBytes; at += 8) store_le(block.data() + at, prng.next());
  return block;
}

class KeptLog final : public observe::Log {
 public:
  void write(observe::Severity severity, const std::string& line) override {
    lines.emplace_back(severity, line);
  }
  bool enabled(observe::Severity) const override { return true; }
  std::size_t count(observe::Severity severity, const std::string& part) const {
    return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(), [&](const auto& at) {
      return at.first == severity && at.second.find(part) != std::string::npos;
    }));
  }
  std::vector<std::pair<observe::Severity, std::string>> lines;
};

// Blocks are there or not; a rotten one fails reads until it is healed.
class FakeDoor final : public StoreDoor {
 public:
  struct Block {
    std::uint32_t crc = 0;
    bool rotten = false;
    std::optional<Buffer> healed = {};
  };
  struct ReadSeen {
    Instant at;
    PieceId piece;
    std::uint64_t blocks = 0;
  };
  explicit FakeDoor(runtime::Runtime& runtime) : runtime_(runtime) {}

  void put(PieceId piece, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) content[piece][first + i] = Block{};
  }
  // Known to be damaged; the right content has this CRC.
  void damage(PieceId piece, std::uint64_t block, std::uint32_t crc) {
    content[piece][block] = Block{.crc = crc, .rotten = true};
    known[{piece, block}] = {piece, block, 1000 + block, crc};
  }

  Task<Result<std::uint64_t>> blocks(PieceId piece) override {
    if (failed.has_value()) co_return fail(*failed);
    const auto at = content.find(piece);
    if (at == content.end()) co_return fail(Code::kPieceMissing);
    co_return at->second.size();
  }
  Task<Result<std::optional<PieceId>>> next_piece(std::optional<PieceId> after) override {
    if (failed.has_value()) co_return fail(*failed);
    const auto at = after.has_value() ? content.upper_bound(*after) : content.begin();
    std::optional<PieceId> next;
    if (at != content.end()) next = at->first;
    co_return next;
  }
  Task<Result<std::vector<store::BlockRange>>> stored(PieceId piece, std::uint64_t first,
                                                      std::uint64_t most) override {
    if (failed.has_value()) co_return fail(*failed);
    const auto at = content.find(piece);
    if (at == content.end()) co_return fail(Code::kPieceMissing);
    std::vector<store::BlockRange> ranges;
    for (auto block = at->second.lower_bound(first); block != at->second.end() && most != 0;
         ++block, --most) {
      if (!ranges.empty() && ranges.back().end() == block->first) {
        ++ranges.back().count;
      } else {
        ranges.push_back({block->first, 1});
      }
    }
    co_return ranges;
  }
  Task<Result<store::ReadAnswer>> read(PieceId piece,
                                       std::vector<store::BlockRange> ranges) override {
    reads.push_back({runtime_.now(), piece, store::total_blocks(ranges)});
    most_in_flight = std::max(most_in_flight, ++in_flight);
    co_await runtime::sleep_for(runtime_, read_time);
    --in_flight;
    if (failed.has_value()) co_return fail(*failed);
    const auto at = content.find(piece);
    if (at == content.end()) co_return fail(Code::kPieceMissing);
    bool bad = false;
    for (const store::BlockRange& range : ranges) {
      for (std::uint64_t i = range.first; i < range.end(); ++i) {
        const auto block = at->second.find(i);
        if (block == at->second.end() || !block->second.rotten) continue;
        bad = true;
        // The store knows the block only when it alone was asked for, to be mean.
        if (store::total_blocks(ranges) == 1) {
          known[{piece, i}] = {piece, i, 1000 + i, block->second.crc};
        }
      }
    }
    if (bad) co_return fail(Code::kChecksumMismatch, "rotten");
    co_return store::ReadAnswer{};
  }
  std::vector<store::DamagedBlock> damaged() const override {
    std::vector<store::DamagedBlock> all;
    for (const auto& [key, block] : known) all.push_back(block);
    return all;
  }
  Task<Status> heal(PieceId piece, std::vector<store::DamagedBlock> blocks, Buffer body) override {
    ++heals;
    CHECK_EQ(body.size(), blocks.size() * kBlockBytes);
    most_in_flight = std::max(most_in_flight, ++in_flight);
    co_await runtime::sleep_for(runtime_, read_time);
    --in_flight;
    if (failed.has_value()) co_return fail(*failed);
    if (refuse_heal.has_value()) co_return fail(*refuse_heal);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const Buffer bytes = body.slice(i * kBlockBytes, kBlockBytes);
      if (crc32c(bytes.span()) != content[piece][blocks[i].block].crc) {
        co_return fail(Code::kChecksumMismatch, "not the right content");
      }
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      Block& block = content[piece][blocks[i].block];
      block.rotten = false;
      block.healed = Buffer::copy_of(body.slice(i * kBlockBytes, kBlockBytes).span());
      known.erase({piece, blocks[i].block});
    }
    co_return Status();
  }
  std::uint64_t pieces() const override { return content.size(); }
  std::uint64_t damaged_count() const override { return known.size(); }
  std::optional<Error> failure() const override { return failed; }

  std::map<PieceId, std::map<std::uint64_t, Block>> content;
  std::map<std::pair<PieceId, std::uint64_t>, store::DamagedBlock> known;
  std::optional<Error> failed;
  std::optional<Error> refuse_heal;
  Duration read_time = 1ms;
  std::vector<ReadSeen> reads;
  int in_flight = 0;
  int most_in_flight = 0;
  int heals = 0;

 private:
  runtime::Runtime& runtime_;
};

}  // namespace cairn::chunkserver::care::testing
