// ChunkSalvage: the data of one chunk from those of its pieces that are left, in repositories whose
// daemons do not run, without the MDS.
//
// Promises: data pieces and parity of the newest version are put together and must fit; pieces of
//           an older version, copies that nobody confirmed, and what was read without its journal
//           count only where others prove them right (row_solver.h). Of an undecided op that some
//           pieces lack (op_decisions.h) that is taken by which more rows are whole: that it
//           counts, or that it does not; the latter is an assumption where pieces that are not
//           here may have made it acknowledged.
//           Each block is verified. What is lost is named, and what rests on an assumption: without
//           the MDS nobody knows whether a piece that is not there was ever written.
// Requires: the inspections outlive it.
// Limits:   memory: 1 MiB a piece.
// Errors:   kUnsupported (a code of another version of Cairn), kCorrupt (pieces that contradict
//           each other). Pieces that cannot be read are lost, not an error.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "chunkserver/inspect/inspection.h"
#include "chunkserver/inspect/op_decisions.h"
#include "chunkserver/inspect/row_solver.h"
#include "common/layout/file_layout.h"

namespace cairn::chunkserver::inspect {

struct ChunkPiece {
  Inspection* from = nullptr;
  PieceId id;
  store::PieceRow row;
};

struct ChunkReport {
  ChunkVersion version;
  erasure::PieceMask newest = 0;  // pieces of that version
  erasure::PieceMask older = 0;   // of an older one, or read without their journal
  erasure::PieceMask copies = 0;  // of a repair that nobody confirmed
  bool maybe_old = false;         // the newest ones were all read without their journal
  bool only_copies = false;       // there are no others: the whole ones are taken for newest
  std::uint64_t fitted_rows = 0;  // older or unwritten pieces were taken: the parity agrees
  // Absent pieces were taken for never written, or a write for never acknowledged; or could be.
  std::uint64_t assumed_rows = 0;
  std::uint64_t contradicting_rows = 0;  // pieces do not fit together, and nobody can tell why
  std::uint64_t lost_blocks = 0;
  std::uint64_t damaged_blocks = 0;  // of pieces; most of them were computed from others
  std::vector<UndecidedOp> undecided;
  std::vector<std::string> unreadable;  // pieces whose rows cannot be read, and why
};

// Neighbouring bytes of the chunk. `bytes` empty: lost, else `length` of them.
struct ChunkRun {
  ChunkOffset offset;
  ByteCount length = 0;
  Bytes bytes;
};

class ChunkSalvage {
 public:
  using VisitRun = std::function<Status(const ChunkRun& run)>;

  // `pieces`: of one chunk, not empty. Of the same piece twice the newest counts that is no copy;
  // the others are tried where rows are not whole with it. `assume`: what rests on an assumption is
  // told; else it counts as lost.
  static Result<ChunkSalvage> make(std::vector<ChunkPiece> pieces, bool assume = false);
  ChunkSalvage(ChunkSalvage&&) = default;

  const layout::FileLayout& layout() const { return layout_; }
  // Runs of blocks that were stored, or that may have been; not in order. Holes are not told.
  Status each_run(const VisitRun& visit);
  // Complete after each_run().
  const ChunkReport& report() const { return report_; }

 private:
  enum class State : std::uint8_t { kAbsent, kOlder, kNewest, kUnreadable };
  struct Place {
    State state = State::kAbsent;
    const ChunkPiece* piece = nullptr;
    unsigned index = 0;
    bool spare = false;  // another place has that piece, too
    bool stale = false;  // a recovery sealed it, and found that it lacks an op
    std::vector<std::uint32_t> segments;
    // Of the segment under work: what it has, then, beside rows_, bytes and what is known of them.
    std::vector<store::LocatedBlock> located;
    Buffer bytes;
    std::vector<Known> known;
    bool usable() const { return state == State::kNewest || state == State::kOlder; }
  };

  ChunkSalvage(std::vector<ChunkPiece> pieces, layout::FileLayout layout, bool assume);
  unsigned data() const { return layout_.encoding().data; }
  unsigned total() const { return layout_.encoding().pieces(); }
  void choose_newest();
  bool is_eligible(const ChunkPiece& piece) const;
  void settle_ops();
  // `guess`: what it does when the blocks tell nothing.
  void try_op(UndecidedOp* op, bool guess);
  using Rows = std::map<std::uint64_t, erasure::PieceMask>;  // by block
  struct Trial {
    std::uint64_t loss = 0;         // blocks that are lost, rows that contradict
    erasure::PieceMask unseen = 0;  // pieces whose blocks nobody here has
    // Of these rows the pieces that prove each other; 0: it is not whole.
    Rows kept;
  };
  // These rows as things stand. The report stays as it is.
  Trial try_rows(const std::vector<store::BlockRange>& ranges);
  bool unseen_rows(unsigned index) const;
  // Its rows, by the pieces that are right after it; empty: there are not enough.
  Rows rows_after(const UndecidedOp& op, const Trial& with, const Trial& without) const;
  bool may_be_acknowledged(const UndecidedOp& op, erasure::PieceMask unseen) const;
  bool is_stale(unsigned index, std::uint64_t block) const;
  void give_up(Place& place, const Error& error);
  void find_segments();
  // `only`: sorted; these blocks and no others.
  void locate(std::uint32_t segment, const std::vector<store::BlockRange>* only = nullptr);
  std::size_t row_of(std::uint64_t block) const;
  void read(Place& place);
  void read_blocks(Place& place);
  void read_and_solve();
  // Rows of ops that may have been acknowledged, and cannot be had.
  void doubt_rows();
  void solve_rows(std::size_t begin, std::size_t end);
  bool solve_plain(std::size_t begin, std::size_t end);
  void solve_row(std::size_t row);
  // `given`: the blocks of the row, beside the pieces, as they were read.
  bool solve_with_spares(std::size_t row, const std::vector<Known>& known, const Buffer& given);
  static std::byte* block_at(Place& place, std::size_t row) {
    return place.bytes.data() + row * kBlockBytes;
  }
  bool is_worth_telling(unsigned index, std::size_t row) const;
  Status tell(unsigned index, const VisitRun& visit) const;

  std::vector<ChunkPiece> pieces_;  // by index, the best first; places_ point into it
  layout::FileLayout layout_;
  bool assume_;
  RowSolver solver_;
  std::vector<Place> places_;  // beside the pieces of the code, then the spare ones
  // What the solver knows of the pieces.
  erasure::PieceMask missing_ = 0;
  std::vector<std::uint64_t> versions_;
  // Of rows of ops that were taken so: the only pieces to look at.
  Rows proven_;
  std::vector<std::uint32_t> segments_;
  // Of the segment under work: blocks that any piece has, and the data pieces whose block is lost.
  std::vector<std::uint64_t> rows_;
  std::vector<erasure::PieceMask> lost_;
  std::vector<erasure::PieceMask> kept_;  // prove each other
  bool from_begin_ = false;               // nothing is stored behind the first stripe
  ChunkReport report_;
};

}  // namespace cairn::chunkserver::inspect
