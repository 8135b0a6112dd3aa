// Stores on real files that hold the pieces of one chunk each, as a writer would have written them.
#pragma once

#include "chunkserver/inspect/chunk_salvage.h"
#include "chunkserver/inspect/repository_fixture.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::inspect {

inline constexpr std::uint64_t kTestChunk = 4711;
inline constexpr std::uint64_t kTestInode = 42;
inline constexpr ByteCount kTestCell = 2 * kBlockBytes;

class ChunkWorld {
 public:
  ChunkWorld(unsigned data, unsigned parity) : data_(data), parity_(parity), prng_(1) {
    for (unsigned i = 0; i < data + parity; ++i) {
      stores_.push_back(
          std::make_unique<LiveStore>(temp_ / ("cs" + std::to_string(i)), LiveOptions{1025 + i}));
    }
  }

  struct Op {
    std::uint64_t version = 1;
    std::uint64_t epoch = 1;
    std::uint64_t seq = 1;
    std::uint64_t chunk_index = 0;
    std::uint64_t chunk = kTestChunk;
  };
  // New bytes for row `row` of the data pieces in `touched`; goes to these and to all parity, but
  // only what is in `reached` gets it.
  void write(const Op& op, std::uint64_t row, erasure::PieceMask touched,
             erasure::PieceMask reached = ~erasure::PieceMask{0}) {
    std::vector<Buffer>& blocks = rows_[row];
    while (blocks.size() < data_ + parity_) blocks.push_back(Buffer::zeroed(kBlockBytes));
    for (unsigned i = 0; i < data_; ++i) {
      if ((touched >> i & 1U) == 0) continue;
      for (std::size_t at = 0; at < kBlockBytes; at += 8) {
        store_le(blocks[i].data() + at, prng_.next());
      }
    }
    std::vector<const std::byte*> from;
    std::vector<std::byte*> to;
    for (unsigned i = 0; i < data_; ++i) from.push_back(blocks[i].data());
    for (unsigned i = data_; i < data_ + parity_; ++i) to.push_back(blocks[i].data());
    erasure::Codec::get(data_, parity_)->encode(from, to, kBlockBytes);
    const erasure::PieceMask all_parity = ((1U << parity_) - 1) << data_;
    for (unsigned i = 0; i < data_ + parity_; ++i) {
      if (((touched | all_parity) & reached) >> i & 1U) {
        send(op, row, i, touched | all_parity, blocks[i]);
      }
    }
  }
  void settle(const Op& op, erasure::PieceMask pieces = ~erasure::PieceMask{0}) {
    for (unsigned i = 0; i < stores_.size(); ++i) {
      if ((pieces >> i & 1U) == 0) continue;
      ignore(stores_[i]->run(
                 stores_[i]->store().settle(piece(i), {LeaseEpoch(op.epoch), OpSeq(op.seq + 1)})),
             "a piece that is not there");
      stores_[i]->quiesce();
    }
  }
  void seal(std::uint64_t version, std::uint64_t epoch, erasure::PieceMask pieces) {
    for (unsigned i = 0; i < stores_.size(); ++i) {
      if ((pieces >> i & 1U) == 0) continue;
      const auto sealed = stores_[i]->run(
          stores_[i]->store().seal(piece(i), ChunkVersion(version), LeaseEpoch(epoch)));
      EXPECT_TRUE(sealed.has_value());
    }
  }
  // As they were sealed.
  void resolve(std::uint64_t version, std::uint64_t epoch, std::vector<store::OpId> forward,
               erasure::PieceMask pieces) {
    for (unsigned i = 0; i < stores_.size(); ++i) {
      if ((pieces >> i & 1U) == 0) continue;
      const Status resolved = stores_[i]->run(
          stores_[i]->store().resolve(piece(i), ChunkVersion(version), LeaseEpoch(epoch), forward));
      EXPECT_TRUE(resolved.has_value());
    }
  }
  // The chunk servers end as by kill -9.
  void kill() {
    for (unsigned i = 0; i < stores_.size(); ++i) stores_[i]->leave(repository(i));
    stores_.clear();
  }
  std::string repository(unsigned i) const { return temp_ / ("dead" + std::to_string(i)); }
  const TemporaryDirectory& temp() const { return temp_; }
  static PieceId piece(unsigned i) {
    return {ChunkId::from_raw(kTestChunk), PieceIndex(static_cast<std::uint8_t>(i))};
  }
  // The newest bytes that were given to write().
  const Buffer& block(std::uint64_t row, unsigned data_piece) { return rows_[row][data_piece]; }
  unsigned data() const { return data_; }

 private:
  void send(const Op& op, std::uint64_t row, unsigned i, erasure::PieceMask participants,
            const Buffer& block) {
    store::PrepareRequest request;
    request.piece = piece(i);
    request.piece.chunk = ChunkId::from_raw(op.chunk);
    request.version = ChunkVersion(op.version);
    request.op = {LeaseEpoch(op.epoch), OpSeq(op.seq)};
    request.participants = participants;
    request.create = true;
    request.facts = {.generator = erasure::kGeneratorVersion,
                     .data = data_,
                     .parity = parity_,
                     .cell_bytes = kTestCell,
                     .inode = kTestInode,
                     .chunk_index = op.chunk_index};
    request.writes = {{row, 1}};
    request.crcs = {crc32c(block.span())};
    const Status put =
        stores_[i]->run(stores_[i]->store().prepare(std::move(request), Buffer(block)));
    EXPECT_TRUE(put.has_value()) << put.error().to_string();
  }

  unsigned data_;
  unsigned parity_;
  TemporaryDirectory temp_;
  std::vector<std::unique_ptr<LiveStore>> stores_;
  std::map<std::uint64_t, std::vector<Buffer>> rows_;
  Prng prng_;
};

}  // namespace cairn::chunkserver::inspect
