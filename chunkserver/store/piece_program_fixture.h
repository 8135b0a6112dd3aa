// PieceProgram: random but lawful journal records, and a naive model of what they mean: the content
// of every block, and who uses which disk block. A home's content is a number; deltas are XORed.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "chunkserver/store/piece_index.h"
#include "chunkserver/store/rows_fixture.h"
#include "chunkserver/store/space_map.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::store {

class PieceProgram {
 public:
  static constexpr std::uint64_t kBlocks = 700;  // of a piece that are used
  static constexpr std::uint64_t kDiskBlocks = 3 * kRegionBlocks;
  static constexpr std::uint64_t kPieces = 4;

  explicit PieceProgram(std::uint64_t seed) : prng_(seed), space_(1, kDiskBlocks) {}

  // A record that the rows may take; the model took it.
  Record next(RowReader& rows);
  // What applying it freed. False: a block was freed that is not used.
  bool freed(const std::vector<Extent>& extents);

  // Content of the blocks as of `through`, holes absent.
  std::map<std::uint64_t, std::uint64_t> content(PieceId piece,
                                                 std::optional<OpId> through = {}) const;
  // The same, as the rows have it.
  std::map<std::uint64_t, std::uint64_t> located(RowReader& rows, PieceId piece,
                                                 std::optional<OpId> through = {}) const;
  std::set<OpId> undecided(PieceId piece) const;
  ChunkVersion version(PieceId piece) const { return ChunkVersion(pieces_.at(piece).seen); }
  bool is_copy(PieceId piece) const { return pieces_.at(piece).copy; }
  std::uint64_t pieces() const;
  const SpaceMap& space() const { return space_; }
  std::map<std::string, int>& made() { return made_; }

 private:
  struct Op {
    bool decided = false;
    std::map<std::uint64_t, std::uint64_t> writes;
    std::vector<BlockRange> zeroes;
    std::map<std::uint64_t, std::uint64_t> deltas;
  };
  struct Piece {
    bool exists = false;
    std::uint64_t version = 1;
    std::uint64_t epoch = 1;
    std::uint64_t seq = 1;
    std::uint64_t seen = 0;        // the newest version that came
    bool copy = false;             // it came from a repair only
    std::set<std::uint64_t> late;  // numbers that were left out so far
    std::map<OpId, Op> ops;
  };

  PieceId pick_piece() { return piece_id(10 + prng_.below(kPieces)); }
  std::vector<std::vector<BlockRange>> pick_ranges();
  Payload bring(std::uint64_t blocks);
  std::optional<Record> prepare(RowReader& rows, PieceId id);
  std::optional<Record> settle(RowReader& rows, PieceId id);
  std::optional<Record> seal(RowReader& rows, PieceId id);
  std::optional<Record> resolve(RowReader& rows, PieceId id);
  std::optional<Record> remove(PieceId id);
  std::optional<Record> fold(RowReader& rows, PieceId id);
  std::optional<Record> heal(RowReader& rows, PieceId id);
  void decide_below(Piece& piece, OpId mark);
  static void see(Piece& piece, ChunkVersion version, bool copy);
  std::uint64_t content_of(const LocatedBlock& block) const;

  Prng prng_;
  SpaceMap space_;
  std::map<std::uint64_t, std::uint64_t> homes_;  // their content
  std::map<PieceId, Piece> pieces_;
  std::map<std::string, int> made_;
};

// The used-regions and the counters say what the rows refer to, each block once; empty text: all is
// well.
std::string disagreement(FakeRows& rows, const PieceProgram& program);

}  // namespace cairn::chunkserver::store
