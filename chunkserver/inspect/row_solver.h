// Row solver: the data blocks of one row of a chunk (the blocks at one number of all pieces) from
// what is left of them, and how sure that is. Pure.
//
// A block is kSure when it is of a piece of the newest version: verified, or a hole of it. It is
// kOlder when it is of a piece of an older version, or of a copy that nobody confirmed: it missed
// writes, or was not touched by any since. It is kAbsent when nobody has the piece: lost, or never
// written and thus zeros; only the MDS knows which. kOlder and kAbsent are never taken on trust: at
// least one block more than the code needs has to fit, with as few left out as possible, and some
// of them must prove that they are of now:
//   * a parity block that is sure: each write changes it; or
//   * more parity blocks than a write may have missed that was acknowledged; or
//   * so many pieces that none is left for such a write.
// (The last two by the default minimum of the code. A piece has no such write that is known to have
// been dropped, or was last in the chunk before a parity piece of these.) Or, for kAbsent and with
// a verdict of its own: no more pieces are lost than the code bears, and what was never written are
// the last ones.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "common/erasure/codec.h"

namespace cairn::chunkserver::inspect {

enum class Known : std::uint8_t { kNot, kAbsent, kOlder, kSure };

enum class RowVerdict : std::uint8_t {
  kSure,
  kFits,  // the parity proves what was taken: older blocks, zeros for absent ones, or all but the
          // one of a stale piece
  kAssumed,      // zeros were taken for absent ones: nothing speaks against it
  kContradicts,  // blocks that are sure do not fit together: left as they are
  kLost,         // some data blocks are not known
};

class RowSolver {
 public:
  // Requires: an allowed code.
  RowSolver(unsigned data, unsigned parity);

  // What is known of the pieces, whatever their blocks are: those that were dropped from the chunk,
  // and versions in which they were in it, beside the pieces (0: unknown).
  void know(erasure::PieceMask missing, std::vector<std::uint64_t> versions) {
    missing_ = missing;
    versions_ = std::move(versions);
  }

  // `known` and `blocks` (`length` bytes each, zeros of absent ones) beside the pieces, data first.
  // Blocks of data pieces that can be computed are written; `lost` are those that are not to be
  // used. Parity is never kAbsent. `from_begin`: the chunk may be one of which only the begin was
  // ever written.
  RowVerdict solve(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                   std::size_t length, bool from_begin, erasure::PieceMask* lost);

  // After a row that is whole: the pieces, with absent ones that are zeros, that prove each other.
  erasure::PieceMask kept() const { return kept_; }
  // Pieces that an acknowledged write has, or that it did not touch, by the default of the code.
  unsigned min() const { return min_; }

  // The same for the plain cases, for many rows in one go: all that is there fits. nullopt: nothing
  // was done.
  std::optional<RowVerdict> solve_plain(const std::vector<Known>& known,
                                        const std::vector<std::byte*>& blocks, std::size_t length,
                                        bool from_begin);

 private:
  struct Masks {
    erasure::PieceMask sure = 0;
    erasure::PieceMask older = 0;
    erasure::PieceMask absent = 0;
    bool absent_are_last = false;  // of the data pieces, and that may be
  };
  Masks masks_of(const std::vector<Known>& known, bool from_begin) const;
  // Pieces that do not fit to the others, and lack what these have; nullopt: rather the others do.
  std::optional<erasure::PieceMask> outdated_by(erasure::PieceMask kept, const Masks& masks) const;
  // May these be taken together, if they fit?
  bool is_proof(erasure::PieceMask kept, const Masks& masks) const;
  // With the fewest older and absent ones left out. False: they do not fit, or in several ways.
  bool take_older(const Masks& masks, const std::vector<std::byte*>& blocks, std::size_t length);
  bool same_data(erasure::PieceMask one, erasure::PieceMask other,
                 const std::vector<std::byte*>& blocks, std::size_t length);
  // Enough blocks are sure: do they fit, all or all but one?
  RowVerdict take_sure(erasure::PieceMask sure, const std::vector<std::byte*>& blocks,
                       std::size_t length);
  // The one of `sure` without which the others, and `zeros`, fit together; 0: none, or several.
  erasure::PieceMask find_stale(erasure::PieceMask sure, erasure::PieceMask zeros,
                                const std::vector<std::byte*>& blocks, std::size_t length);
  // Do the blocks in `have` (at least what the code needs) fit together? Computes `want` then.
  bool fit(erasure::PieceMask have, erasure::PieceMask want, const std::vector<std::byte*>& blocks,
           std::size_t length);
  // Computes the pieces in `want` from just enough others, beside `blocks`.
  void compute(erasure::PieceMask used, erasure::PieceMask want,
               const std::vector<std::byte*>& blocks, std::size_t length);
  // Takes the last absent pieces for never written, as many as the code needs.
  RowVerdict take_for_unwritten(const std::vector<Known>& known, erasure::PieceMask sure,
                                const std::vector<std::byte*>& blocks, std::size_t length,
                                bool from_begin);

  std::shared_ptr<const erasure::Codec> codec_;
  unsigned min_;
  erasure::PieceMask missing_ = 0;
  erasure::PieceMask kept_ = 0;
  std::vector<std::uint64_t> versions_;
  std::vector<std::vector<std::byte>> scratch_;
};

}  // namespace cairn::chunkserver::inspect
