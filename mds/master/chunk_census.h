// ChunkCensus: counts the states of all chunks by walking the chunk map in slices.
//
// Promises: other work runs between slices; several who ask share one walk; an answer is at most
//           kFresh old.
// Limits:   the walk costs time in proportion to the chunks; only the admin tool asks for it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "common/runtime/completion.h"
#include "mds/master/cs_board.h"
#include "mds/master/environment.h"
#include "mds/master/repairs.h"

namespace cairn::mds::master {

class ChunkCensus {
 public:
  static constexpr Duration kFresh = 1s;
  static constexpr std::size_t kSlice = 2000;

  struct PerCs {
    std::uint64_t written = 0;  // pieces that its drive should have
    // Pieces whose loss would leave their chunk with fewer pieces than the data needs, counting
    // what is not offline elsewhere. One never written is on no disk: losing it loses nothing.
    std::uint64_t unique = 0;
    // Chunks of each state that have a piece here, by ChunkState.
    std::map<ChunkState, std::uint64_t> chunks;
  };
  struct Count {
    Instant at;
    pb::ChunkStates states;
    std::map<std::uint32_t, PerCs> by_cs;
    std::uint64_t missing_pieces = 0;  // lost, stale or without a place, whatever the CSs do
    std::uint64_t at_edge = 0;         // chunks with parity or copies that bear no further loss
  };
  using Shared = std::shared_ptr<const Count>;

  ChunkCensus(Environment env, const CsBoard& board, const Repairs& repairs)
      : env_(env), board_(board), repairs_(repairs) {}
  Task<Result<Shared>> take();
  ChunkState state_of(const pb::Chunk& chunk) const;
  // Pure: what one chunk adds to the count.
  static void add(const pb::Chunk& chunk, const std::function<CsState(std::uint32_t cs)>& state_of,
                  bool copying, Count* count);

 private:
  Task<Result<Shared>> walk();

  Environment env_;
  const CsBoard& board_;
  const Repairs& repairs_;
  Shared last_;
  bool walking_ = false;
  std::vector<runtime::Completion<Result<Shared>>> waiting_;
};

}  // namespace cairn::mds::master
