// ChunkModel: what becomes of the chunk map, written as plainly as possible after
// docs/protocols/data-path.md and conversion.md there, and without a look at the state machine. The
// random test compares both after every step.
//
// Requires: sizes of files reach past all their chunks, so that no end of a lease removes any.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "common/base/error.h"

namespace cairn::mds::state::testing {

class ChunkModel {
 public:
  static constexpr Code kDone = static_cast<Code>(0);

  enum class State { kUnwritten, kCurrent, kMissing };
  struct Piece {
    State state = State::kUnwritten;
    std::uint32_t cs = 0;
    std::uint64_t missed = 0;
  };
  struct Chunk {
    std::uint64_t inode = 0;
    std::uint64_t index = 0;
    std::uint64_t version = 1;
    std::uint64_t writer = 0;
    std::uint64_t floor = 0;
    std::uint64_t opened = 0;
    std::vector<Piece> pieces;

    unsigned live(std::uint32_t without = 0) const;
    bool has_missing() const { return live() < pieces.size(); }
  };
  struct Coding {
    unsigned data = 1;
    unsigned min = 1;
    unsigned pieces = 1;
    friend bool operator==(const Coding&, const Coding&) = default;
  };
  struct File {
    Coding policy;
    std::optional<Coding> layout;  // since the first chunk
    std::optional<Coding> wanted;  // it waits to be converted
    std::uint64_t size = 0;
    std::uint64_t holder = 0;
    std::uint64_t epoch = 0;
    std::uint64_t shadow_of = 0;
    bool named = true;

    const Coding& coding() const { return layout ? *layout : policy; }
  };
  struct Claim {
    std::uint64_t session = 0;
    std::uint64_t inode = 0;
    std::uint64_t epoch = 0;
  };

  void add_file(std::uint64_t inode, Coding policy) { files_[inode].policy = policy; }
  void unlink(std::uint64_t inode);
  // Done once nothing is left; kBusy: a part is.
  Code purge(std::uint64_t inode, std::size_t chunks);

  Code commit(Claim claim, std::uint64_t size);
  Code grant(std::uint64_t session, std::uint64_t inode);
  Code release(Claim claim, bool unsettled);
  // A place of 0: none was found.
  Code open(Claim claim, std::uint64_t index, std::uint32_t touch,
            const std::vector<std::uint32_t>& places);
  struct Drop {
    std::uint64_t chunk = 0;
    std::uint64_t version = 0;
    std::uint32_t pieces = 0;
    std::uint64_t regions = 0;
  };
  Code drop(Claim claim, const Drop& drop);
  Code close(Claim claim, std::uint64_t chunk, std::uint64_t next_seq);
  Code begin_recovery(std::uint64_t chunk);
  // Of `drop` the pieces are those that are unreachable.
  Code finish_recovery(const Drop& drop);
  struct Repair {
    std::uint64_t chunk = 0;
    std::uint64_t version = 0;
    unsigned piece = 0;
    std::uint32_t cs = 0;
    std::uint64_t next_seq = 0;
  };
  Code place(const Repair& repair);
  Code finish_repair(const Repair& repair);
  void removed(std::uint32_t cs, std::uint64_t chunk, unsigned piece, std::uint64_t version);
  // All chunks of the file go, and then it has this size.
  Code truncate(Claim claim, std::uint64_t size);

  struct Queued {
    unsigned changed = 0;
    unsigned converting = 0;
    unsigned keep = 0;
    friend bool operator==(const Queued&, const Queued&) = default;
  };
  Queued set_policy(std::uint64_t inode, Coding to, bool keep_data);
  // The new file has the number `shadow`.
  Code make_shadow(std::uint64_t session, std::uint64_t inode, std::uint64_t shadow);
  Code swap(Claim claim, std::uint64_t shadow);

  const std::map<std::uint64_t, Chunk>& chunks() const { return chunks_; }
  const std::map<std::uint64_t, File>& files() const { return files_; }
  std::uint64_t chunk_count(std::uint64_t inode) const;
  std::uint64_t next_chunk() const { return next_chunk_; }
  // (cs, chunk, piece) -> up to which version; 0: any.
  using Removals = std::map<std::tuple<std::uint32_t, std::uint64_t, unsigned>, std::uint64_t>;
  const Removals& removals() const { return removals_; }

 private:
  Code check(Claim claim) const;
  Chunk* at(std::uint64_t inode, std::uint64_t index);
  bool has_open(std::uint64_t inode) const;
  void remove(std::uint64_t id);
  bool occupied(std::uint64_t id, const Chunk& chunk, std::uint32_t cs) const;
  static void lose(Chunk& chunk, std::uint32_t mask, std::uint64_t regions);

  std::map<std::uint64_t, File> files_;
  std::map<std::uint64_t, Chunk> chunks_;
  Removals removals_;
  std::uint64_t next_chunk_ = 1;
  std::uint64_t next_epoch_ = 1;
};

}  // namespace cairn::mds::state::testing
