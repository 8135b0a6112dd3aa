// Inspection: a repository of a chunk server, looked at while no daemon serves it. Nothing of it is
// changed: the daemon's own recovery runs over it, and what that writes stays in memory.
//
// Owns:     everything it opened. The repository's lock is held, shared, as long as this lives: no
//           daemon starts meanwhile.
// Promises: what it reads of a piece is what the daemon would serve after a start, each block
//           verified; a block that cannot be had is named, the rest goes on.
// Requires: one thread; calls block it.
// Limits:   memory: the rows that the journal changed and about 110 bytes for each block that only
//           the journal has, the caches of index and rows (below 100 MiB); nothing grows with the
//           pieces.
// Errors:   kNotFound (no repository, or one that was never used), kBusy (a daemon has it),
//           kCorrupt (data file or index lost or damaged), kJournalFailed (the journal is: see
//           Options::without_journal), kUnsupported, kDiskFailed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/store/recovery.h"
#include "common/cluster/repository.h"

namespace cairn::chunkserver::inspect {

struct Options {
  std::string repository;
  // A journal outside the repository is in one of these directories now; none: where the superblock
  // says.
  std::vector<std::string> journal_directories = {};
  // The journal is lost: what only it has is missing, older bytes of those pieces may be shown.
  bool without_journal = false;
};

struct Summary {
  std::string repository;
  cairn::cluster::CsRepository identity;
  std::optional<store::Superblock> superblock;  // nullopt: damaged; only without the journal
  store::TablePosition position;                // as it is on the disk
  store::Counters counters;                     // after the journal
  std::uint64_t batches = 0;                    // of the journal, behind the index
  std::uint64_t dropped = 0;                    // unfinished ops in the last one
  std::uint64_t homeless = 0;                   // blocks that only the journal has
  ByteCount data_bytes = 0;
  bool without_journal = false;
};

// Some stored blocks of a piece.
struct PieceBlocks {
  std::vector<std::uint64_t> blocks;
  Buffer bytes;                      // 4 KiB each, zeros for those that are missing
  std::vector<std::string> missing;  // beside blocks: why it cannot be had; empty: it is there
};

class Inspection {
 public:
  static Result<std::unique_ptr<Inspection>> open(Options options);
  ~Inspection();

  const Summary& summary() const { return summary_; }

  // In order of chunk and piece. A row that is damaged comes as an error; when the index cannot be
  // read on, the walk ends with one.
  using VisitPiece = std::function<Status(PieceId piece, const Result<store::PieceRow>& row)>;
  Status for_each_piece(const VisitPiece& visit) const;
  // nullopt: there is none.
  Result<std::optional<store::PieceRow>> row(PieceId piece) const;

  // The runs of 256 blocks in which the piece holds any, in order. `row` may be another than the
  // stored one, as without some of its pending ops, here and below.
  Result<std::vector<std::uint32_t>> segments(PieceId piece, const store::PieceRow& row);
  // Where the blocks of such a run lie.
  Result<std::vector<store::LocatedBlock>> located(PieceId piece, const store::PieceRow& row,
                                                   std::uint32_t segment);
  PieceBlocks read(const std::vector<store::LocatedBlock>& blocks);

  // Every batch of the journal that the index may still need, in order.
  Status for_each_batch(const std::function<Status(const store::Batch& batch)>& visit);

 private:
  struct Parts;
  explicit Inspection(std::unique_ptr<Parts> parts);
  static Status load(Parts& parts);
  static Status load_superblock(Parts& parts);
  // Content of one layer; a text: why not.
  std::optional<std::string> read_layer(const store::BlockPlace& place, MutableBytes into);

  std::unique_ptr<Parts> parts_;
  Summary summary_;
};

}  // namespace cairn::chunkserver::inspect
