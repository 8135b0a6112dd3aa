// ChunkHolds: keeps a chunk closed while one of its pieces is repaired.
// docs/protocols/data-path.md, "Repair".
//
// Promises: from hold() on, no OpenChunk of that chunk is proposed (they wait in pass()); when
//           settle() ended well, none that was proposed before is under way and the chunk is
//           closed, so nothing changes in it until the hold ends. Waiting OpenChunks go on at once
//           then. A holder of an exclusive lease is asked to close the chunk, again and again; a
//           chunk that nobody holds any more is recovered.
// Requires: the loop thread; stop() before the task group of the environment is joined. Whoever
//           changes tables so that chunks get closed says poke().
// Limits:   kHoldTime for settle() and for those who wait. Holds end with the reign: a new master
//           knows none.
// Errors:   settle(): kTimeout (the chunk was not closed), kUnsupported (its holder cannot close
//           chunks), kNotFound (the chunk is gone), kCancelled, those of the log.
//           pass(): kOverloaded (ask again), kCancelled.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "common/runtime/completion.h"
#include "mds/master/environment.h"
#include "mds/master/recovery.h"
#include "mds/master/session_board.h"

namespace cairn::mds::master {

class ChunkHolds {
 public:
  static constexpr Duration kHoldTime = 30s;
  static constexpr Duration kAskAgain = 5s;

  ChunkHolds(Environment env, SessionBoard& sessions, Recovery& recovery)
      : env_(env), sessions_(sessions), recovery_(recovery) {}

  struct Place {
    InodeId inode;
    std::uint64_t index = 0;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  // Ends when it dies.
  class Hold {
   public:
    Hold() = default;
    Hold(ChunkHolds* owner, Place place) : owner_(owner), place_(place) {}
    Hold(Hold&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)), place_(o.place_) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold() { release(); }
    void release() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->release(place_);
    }

   private:
    ChunkHolds* owner_ = nullptr;
    Place place_;
  };

  // Requires: it is not held.
  Hold hold(Place place, ChunkId chunk);
  bool held(Place place) const { return holds_.contains(place); }
  // Until the hold is in effect. For the owner of the hold.
  Task<Status> settle(Place place);
  // For an OpenChunk: until the chunk is not held. To be called again until held() is false.
  Task<Status> pass(Place place, Deadline deadline);

  // Chunks of the inode may have been closed.
  void poke(InodeId inode);
  // A session connected anew: it is asked again.
  void connected(SessionId session);
  void stop();
  std::size_t count() const { return holds_.size(); }

 private:
  struct State {
    ChunkId chunk;
    SessionId asked;       // the holder that was asked last
    bool refused = false;  // it cannot close chunks
    runtime::Completion<bool> wake;
    std::vector<runtime::Completion<bool>> waiting;
  };

  void release(Place place);
  Task<Status> barrier();
  // The holder whose lease opened the chunk; none when that one is gone.
  SessionId holder_of(const pb::Chunk& chunk) const;
  static Task<void> ask(ChunkHolds* self, Place place, SessionId holder, pb::HoldChunk message);

  Environment env_;
  SessionBoard& sessions_;
  Recovery& recovery_;
  std::map<Place, State> holds_;
};

}  // namespace cairn::mds::master
