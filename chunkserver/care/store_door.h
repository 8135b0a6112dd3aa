// StoreDoor: the few calls of the piece store that scrub and healing need, so that both can be
// tested without a drive. The calls mean what they mean in chunkserver/store/piece_store.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "chunkserver/store/piece_store.h"

namespace cairn::chunkserver::care {

class StoreDoor {
 public:
  virtual ~StoreDoor() = default;
  // Blocks that the piece holds, about. Error: kPieceMissing.
  virtual Task<Result<std::uint64_t>> blocks(PieceId piece) = 0;
  virtual Task<Result<std::optional<PieceId>>> next_piece(std::optional<PieceId> after) = 0;
  virtual Task<Result<std::vector<store::BlockRange>>> stored(PieceId piece, std::uint64_t first,
                                                              std::uint64_t most) = 0;
  virtual Task<Result<store::ReadAnswer>> read(PieceId piece,
                                               std::vector<store::BlockRange> ranges) = 0;
  virtual std::vector<store::DamagedBlock> damaged() const = 0;
  virtual Task<Status> heal(PieceId piece, std::vector<store::DamagedBlock> blocks,
                            Buffer body) = 0;
  virtual std::uint64_t pieces() const = 0;
  virtual std::uint64_t damaged_count() const = 0;
  // Why the store is fenced; it neither serves nor changes then.
  virtual std::optional<Error> failure() const = 0;
};

// The real one. Requires: the store outlives it.
class PieceStoreDoor final : public StoreDoor {
 public:
  explicit PieceStoreDoor(store::PieceStore& store) : store_(store) {}
  Task<Result<std::uint64_t>> blocks(PieceId piece) override;
  Task<Result<std::optional<PieceId>>> next_piece(std::optional<PieceId> after) override;
  Task<Result<std::vector<store::BlockRange>>> stored(PieceId piece, std::uint64_t first,
                                                      std::uint64_t most) override;
  Task<Result<store::ReadAnswer>> read(PieceId piece,
                                       std::vector<store::BlockRange> ranges) override;
  std::vector<store::DamagedBlock> damaged() const override { return store_.damaged(); }
  Task<Status> heal(PieceId piece, std::vector<store::DamagedBlock> blocks, Buffer body) override;
  std::uint64_t pieces() const override { return store_.statistics().pieces; }
  std::uint64_t damaged_count() const override { return store_.statistics().damaged_blocks; }
  std::optional<Error> failure() const override { return store_.failure(); }

 private:
  store::PieceStore& store_;
};

}  // namespace cairn::chunkserver::care
