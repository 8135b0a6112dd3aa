// ChunkChecker: looks at the pieces on the simulated drives, past the chunk servers' doors, and
// compares them with the map and the models. For quiet times.
//
// Checks: the tables' invariants; current pieces are there, and each row of them is a word of the
//         code (so every choice of M of them says the same); the data blocks are what the models
//         say; no chunk server has a piece that the map does not know.
#pragma once

#include <map>
#include <string>

#include "proto/types.pb.h"
#include "tests/sim/cluster.h"
#include "tests/sim/data_files.h"

namespace cairn::sim {

class ChunkChecker {
 public:
  ChunkChecker(SimWorld& world, SimCluster& cluster, DataFiles& files);

  struct Verdict {
    std::string wrong;       // that must never be
    std::string unfinished;  // that must not stay so
  };
  // `inodes`: of the files, by slot. `repaired`: no piece may be missing.
  Verdict check(const std::map<unsigned, InodeId>& inodes, bool repaired);
  // After all files were unlinked: nothing is left anywhere.
  std::string leftovers();

  // Of chunks whose stored rows contradict each other now, whatever is under way.
  std::vector<std::string> contradictions();

  // Of the map, now.
  std::vector<pb::Chunk> chunks();
  // Which chunk server has that id.
  unsigned index_of(std::uint32_t cs_id) const;
  // The fewest current pieces a chunk would have without those chunk servers, less what it needs to
  // be read; a chunk that was never written counts as whole.
  int spare_without(std::uint32_t cs_mask);

 private:
  struct Content {
    bool written = false;
    std::vector<std::byte> bytes;
  };
  Content* read_piece(const pb::Chunk& chunk, unsigned index, Verdict* verdict);
  void check_chunk(const pb::Chunk& chunk, const std::map<unsigned, InodeId>& inodes,
                   Verdict* verdict);
  std::string check_code(const pb::Chunk& chunk, std::map<unsigned, Content>& pieces);
  std::string check_data(const pb::Chunk& chunk, const DataModel& model,
                         const std::map<unsigned, Content>& pieces);
  void check_places(const std::vector<pb::Chunk>& chunks, Verdict* verdict);
  bool changed(const pb::Chunk& chunk);
  bool run(Task<void> task);

  SimWorld& world_;
  SimCluster& cluster_;
  DataFiles& files_;
  std::map<unsigned, Content> contents_;  // of the chunk that is looked at
};

}  // namespace cairn::sim
