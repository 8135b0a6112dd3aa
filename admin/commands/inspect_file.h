// SalvagedFile: one file that is put together from chunks, and what is to be told about it.
//
// Promises: every byte that goes out was verified; what is lost is told and reads as zeros.
// Requires: chunks in order.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "admin/commands/output_file.h"
#include "chunkserver/inspect/chunk_salvage.h"

namespace cairn::admin {

class SalvagedFile {
 public:
  // `output` outlives it.
  SalvagedFile(std::uint64_t inode, bool assume, OutputFile& output)
      : inode_(inode), assume_(assume), output_(output) {}

  // The chunk at this place of the file, from the first of `candidates` (pieces by chunk) that can
  // be used; the others are named. `go_on` is asked now and then. Errors: those of `output` and
  // `go_on`.
  Status add(std::uint64_t chunk_index,
             std::vector<std::vector<chunkserver::inspect::ChunkPiece>> candidates,
             const std::function<Status()>& go_on);

  ByteCount stored_bytes() const { return stored_; }
  ByteCount lost_bytes() const { return lost_; }
  // Nothing that was stored is lost, as far as these pieces can tell.
  bool whole() const { return lost_ == 0 && notes_.empty(); }
  // Some of it rests on the assumption of RowVerdict::kAssumed, or would not be lost with it.
  bool assumed() const { return assumed_rows_ != 0; }
  nlohmann::ordered_json facts() const;    // for the file beside it
  nlohmann::ordered_json summary() const;  // for the list of files
  std::string text() const;                // what is not whole

 private:
  using Json = nlohmann::ordered_json;
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t length = 0;
  };

  Status write(const chunkserver::inspect::ChunkRun& run, std::uint64_t chunk_start);
  void note_chunk(std::uint64_t chunk_index, ChunkId chunk,
                  const chunkserver::inspect::ChunkReport& report);
  void keep(std::vector<Json>& list, Json json);

  std::uint64_t inode_;
  bool assume_;
  OutputFile& output_;
  std::string encoding_;
  ByteCount chunk_bytes_ = 0;
  std::uint64_t end_ = 0;
  ByteCount stored_ = 0;
  ByteCount lost_ = 0;
  std::uint64_t assumed_rows_ = 0;
  std::uint64_t chunks_ = 0;
  std::optional<std::uint64_t> last_chunk_;
  std::vector<Range> lost_here_;  // of the chunk under work
  std::vector<Range> lost_ranges_;
  std::vector<Range> absent_;  // chunks that nobody has
  std::vector<Json> remarks_;  // worth to know
  std::vector<Json> notes_;    // what is wrong
  bool cut_ = false;           // one of the lists is longer
};

}  // namespace cairn::admin
