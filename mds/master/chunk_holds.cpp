#include "mds/master/chunk_holds.h"

#include "mds/state/machine.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

ChunkHolds::Hold ChunkHolds::hold(Place place, ChunkId chunk) {
  const bool fresh = holds_
                         .emplace(place, State{.chunk = chunk,
                                               .asked = {},
                                               .wake = runtime::Completion<bool>(env_.runtime),
                                               .waiting = {}})
                         .second;
  CHECK(fresh);
  return {this, place};
}

void ChunkHolds::release(Place place) {
  const auto at = holds_.find(place);
  std::vector<runtime::Completion<bool>> waiting = std::move(at->second.waiting);
  holds_.erase(at);
  for (runtime::Completion<bool>& waiter : waiting) waiter.set(true);
}

Task<Status> ChunkHolds::pass(Place place, Deadline deadline) {
  const auto at = holds_.find(place);
  if (at == holds_.end()) co_return Status();
  if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
  runtime::Completion<bool> released(env_.runtime);
  at->second.waiting.push_back(released);
  const std::optional<bool> passed = co_await released.wait_until(deadline);
  if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
  if (!passed.has_value()) {
    co_return fail(Code::kOverloaded, "a piece of the chunk is under repair: ask again");
  }
  co_return Status();
}

// A command that changes nothing: those proposed before it were applied when it is.
Task<Status> ChunkHolds::barrier() {
  pb::Command command;
  command.mutable_pieces_removed();
  const Result<pb::CommandReply> applied = co_await env_.commands.run(std::move(command));
  if (!applied.has_value()) co_return fail(applied.error());
  co_return Status();
}

SessionId ChunkHolds::holder_of(const pb::Chunk& chunk) const {
  const Result<pb::InodeRecord> inode =
      state::queries::inode(env_.tables, InodeId::from_raw(chunk.inode()));
  if (!inode.has_value() || inode->lease_epoch() != chunk.writer_epoch()) return {};
  return SessionId::from_raw(inode->lease_session());
}

Task<Status> ChunkHolds::settle(Place place) {
  const Deadline end = env_.runtime.after(kHoldTime);
  CO_TRY_VOID(co_await barrier());
  State& state = holds_.at(place);
  Instant ask_at = env_.runtime.now();
  for (;;) {
    if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
    CO_TRY(const pb::Chunk chunk, state::queries::chunk(env_.tables, state.chunk));
    if (chunk.writer_epoch() == 0) co_return Status();
    if (state.refused) co_return fail(Code::kUnsupported, "the writer does not close chunks");
    const Instant now = env_.runtime.now();
    if (now >= end) co_return fail(Code::kTimeout, "the writer did not close the chunk");
    // Made before anything is awaited: what happens meanwhile must not be missed.
    state.wake = runtime::Completion<bool>(env_.runtime);
    runtime::Completion<bool> wake = state.wake;
    const SessionId holder = holder_of(chunk);
    const Session* session = sessions_.find(holder);
    if (session == nullptr) {
      // Left open, and nobody may close it: whoever comes next would have to recover it, too.
      const Deadline slice = std::min(end, now + kAskAgain);
      const Status whole = co_await recovery_.recover_inode(place.inode, slice);
      if (!whole.has_value() && whole.error().code() != Code::kTimeout) co_return whole;
      continue;
    }
    // One that is ending has its chunks recovered by those who end it.
    if (!session->ending && (now >= ask_at || state.asked != holder)) {
      pb::HoldChunk message;
      message.set_inode(chunk.inode());
      message.set_epoch(chunk.writer_epoch());
      message.set_index(chunk.index());
      message.set_chunk(chunk.id());
      state.asked = holder;
      env_.tasks.spawn(ask(this, place, holder, std::move(message)));
      ask_at = now + kAskAgain;
    }
    co_await wake.wait_until(std::min(end, std::max(ask_at, now + 1ms)));
  }
}

Task<void> ChunkHolds::ask(ChunkHolds* self, Place place, SessionId holder, pb::HoldChunk message) {
  const Session* session = self->sessions_.find(holder);
  const std::shared_ptr<net::Channel> channel = session == nullptr ? nullptr : session->channel();
  // Not connected: connected() wakes the one who waits.
  if (channel == nullptr) co_return;
  net::Payload request;
  request.meta = message.SerializeAsString();
  const Deadline deadline = self->env_.runtime.after(kAskAgain);
  const Result<net::Payload> received =
      co_await channel->call(pb::OP_HOLD_CHUNK, std::move(request), deadline);
  if (received.has_value() || received.error().code() != Code::kUnsupported) co_return;
  const auto at = self->holds_.find(place);
  if (at == self->holds_.end() || at->second.asked != holder) co_return;
  at->second.refused = true;
  at->second.wake.set(true);
}

void ChunkHolds::poke(InodeId inode) {
  for (auto at = holds_.lower_bound(Place{.inode = inode}); at != holds_.end(); ++at) {
    if (at->first.inode != inode) break;
    at->second.wake.set(true);
  }
}

void ChunkHolds::connected(SessionId session) {
  for (auto& [place, state] : holds_) {
    if (state.asked != session) continue;
    state.asked = SessionId();
    state.wake.set(true);
  }
}

void ChunkHolds::stop() {
  for (auto& [place, state] : holds_) {
    state.wake.set(true);
    std::vector<runtime::Completion<bool>> waiting = std::move(state.waiting);
    state.waiting.clear();
    for (runtime::Completion<bool>& waiter : waiting) waiter.set(true);
  }
}

}  // namespace cairn::mds::master
