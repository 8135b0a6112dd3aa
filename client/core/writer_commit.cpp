// One write op: PREPARE to all participants until it is decided.
#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "client/core/writer.h"
#include "common/runtime/task_group.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {

constexpr Duration kPrepareTimeout = 8s;
constexpr Duration kRestartGrace = 2s;  // a chunk server that cannot be reached for longer is out
constexpr Duration kRestartPause = 100ms;
constexpr Duration kMetaTimeout = 30s;
constexpr Duration kWaitFirst = 50ms;
constexpr Duration kWaitMost = 1s;

std::unexpected<Error> lost() {
  return fail(Code::kLeaseExpired, "the lease ended during a write");
}

void add_ranges(google::protobuf::RepeatedPtrField<pb::BlockRange>* to,
                const std::vector<layout::BlockRun>& runs) {
  for (const layout::BlockRun& run : runs) {
    pb::BlockRange& range = *to->Add();
    range.set_first(run.first);
    range.set_count(static_cast<std::uint32_t>(run.count));
  }
}

}  // namespace

net::Payload Writer::prepare(const Inode& inode, const ChunkState& chunk, const StripeOp& op,
                             OpSeq seq, PieceMask participants, unsigned piece) const {
  const PieceWrite& write = op.pieces[piece];
  pb::Prepare prepare;
  prepare.set_chunk(chunk.view->id.raw());
  prepare.set_piece(piece);
  prepare.set_version(chunk.view->version.raw());
  prepare.set_epoch(inode.epoch.raw());
  prepare.set_seq(seq.raw());
  prepare.set_settled_below(chunk.settled_below().raw());
  prepare.set_participants(participants);
  prepare.set_generator(erasure::kGeneratorVersion);
  prepare.set_data(inode.layout->encoding().data);
  prepare.set_parity(inode.layout->encoding().parity);
  prepare.set_cell_bytes(static_cast<std::uint32_t>(inode.layout->cell_bytes()));
  prepare.set_inode(inode.id.raw());
  prepare.set_chunk_index(chunk.index);
  prepare.set_create((chunk.fresh & piece_bit(piece)) != 0);
  add_ranges(prepare.mutable_writes(), write.writes);
  add_ranges(prepare.mutable_zeroes(), write.zeroes);
  prepare.set_crcs(write.crcs);
  prepare.set_unaligned(write.unaligned);
  net::Payload payload;
  payload.meta = prepare.SerializeAsString();
  payload.body = write.body;
  return payload;
}

Task<void> Writer::send_one(InodePtr inode, ChunkPtr chunk, OpPtr op, OpSeq seq,
                            PieceMask participants, Sent* sent) {
  const std::uint64_t serial = inode->serial;
  const Deadline deadline = runtime_.after(kPrepareTimeout);
  for (int attempt = 0;; ++attempt) {
    const std::string address = chunk->view->pieces[sent->piece].address;
    net::Payload request = prepare(*inode, *chunk, *op, seq, participants, sent->piece);
    const Result<net::Payload> answer =
        co_await links_.call(address, pb::OP_PREPARE, std::move(request), deadline);
    if (answer.has_value()) {
      sent->status = Status();
      co_return;
    }
    sent->status = fail(answer.error());
    // Again: a bit may have flipped on the way, the connection may be all that broke, or the chunk
    // server is just being restarted. Dropping its piece would cost a repair.
    const Code code = answer.error().code();
    const bool once = code == Code::kOverloaded || code == Code::kChecksumMismatch;
    const bool restart = code == Code::kConnectionLost || code == Code::kUnavailable;
    const bool again =
        (once && attempt == 0) || (restart && links_.down_for(address) < kRestartGrace);
    if (!again || inode->serial != serial || session_.stopping()) co_return;
    if (runtime_.now() + kRestartPause >= deadline) co_return;
    if (attempt != 0) co_await runtime::sleep_for(runtime_, kRestartPause);
    if (inode->serial != serial) co_return;
  }
}

Task<Writer::Outcome> Writer::send_all(InodePtr inode, ChunkPtr chunk, OpPtr op, OpSeq seq,
                                       PieceMask participants, PieceMask pending) {
  std::vector<Sent> sent;
  for (unsigned i = 0; i < op->pieces.size(); ++i) {
    if ((pending & piece_bit(i)) != 0) sent.push_back({i, Status()});
  }
  runtime::TaskGroup group(runtime_);
  for (Sent& one : sent) group.spawn(send_one(inode, chunk, op, seq, participants, &one));
  co_await group.join();
  Outcome outcome;
  for (const Sent& one : sent) {
    const PieceMask bit = piece_bit(one.piece);
    if (one.status.has_value()) {
      outcome.ok |= bit;
      continue;
    }
    switch (one.status.error().code()) {
      case Code::kStaleEpoch:
      case Code::kLeaseExpired:
        outcome.fenced = true;
        break;
      case Code::kNoSpace:
        outcome.no_space |= bit;
        break;
      case Code::kStaleVersion:
      case Code::kOverloaded:
      case Code::kCancelled:
        outcome.again |= bit;
        break;
      default:
        log_.warning("inode {}: piece {} of chunk {} took no write: {}", inode->id.raw(), one.piece,
                     chunk->index, one.status.error().to_string());
        outcome.failed |= bit;
    }
  }
  co_return outcome;
}

Task<bool> Writer::has_moved(InodePtr inode, ChunkPtr chunk,
                             std::shared_ptr<const ChunkView> sent_to, PieceMask failed) {
  PieceMask unreached = 0;
  for (unsigned i = 0; i < sent_to->pieces.size(); ++i) {
    if ((failed & piece_bit(i)) == 0) continue;
    if (links_.down_for(sent_to->pieces[i].address) != Duration()) unreached |= piece_bit(i);
  }
  if (unreached == 0) co_return false;
  const Deadline deadline = runtime_.after(kMetaTimeout);
  const Status refreshed = co_await map_.refresh(inode, chunk, deadline);
  if (!refreshed.has_value()) co_return false;
  for (unsigned i = 0; i < sent_to->pieces.size(); ++i) {
    const std::string& now = chunk->view->pieces[i].address;
    const bool elsewhere = !now.empty() && now != sent_to->pieces[i].address;
    if ((unreached & piece_bit(i)) != 0 && elsewhere) co_return true;
  }
  co_return false;
}

Task<Status> Writer::drop_failed(InodePtr inode, ChunkPtr chunk, ChunkVersion version,
                                 PieceMask failed) {
  const Deadline deadline = runtime_.after(kMetaTimeout);
  const Status dropped = co_await map_.drop(inode, chunk, version, failed, deadline);
  co_return dropped;
}

Task<Status> Writer::commit(InodePtr inode, ChunkPtr chunk, OpPtr op) {
  const std::uint64_t serial = inode->serial;
  const OpSeq seq = chunk->next_seq;
  const PieceMask wanted = op->writes_mask() | (op->zeroes_only_mask() & chunk->view->current);
  PieceMask pending = wanted & chunk->view->current;
  const PieceMask participants = pending;
  if (participants == 0) co_return Status();  // holes where nothing is
  chunk->next_seq = seq.next();
  chunk->undecided.insert(seq);
  Backoff backoff(kWaitFirst, kWaitMost);
  for (;;) {
    // What the map has dropped needs nothing any more.
    pending &= chunk->view->current;
    if (pending == 0) break;
    const std::shared_ptr<const ChunkView> sent_to = chunk->view;
    const ChunkVersion version = sent_to->version;
    Outcome outcome;
    {
      const runtime::Semaphore::Permit permit =
          co_await in_flight_.acquire(op->bytes + kBlockBytes);
      if (inode->serial != serial) co_return lost();
      outcome = co_await send_all(inode, chunk, op, seq, participants, pending);
    }
    if (inode->serial != serial || outcome.fenced) co_return lost();
    if (session_.stopping()) co_return fail(Code::kCancelled, "the mount is being stopped");
    pending &= ~outcome.ok;
    if (pending == 0) break;
    Status step;
    if (outcome.failed != 0) {
      const bool moved = co_await has_moved(inode, chunk, sent_to, outcome.failed);
      if (inode->serial != serial) co_return lost();
      if (moved) continue;
      step = co_await drop_failed(inode, chunk, version, outcome.failed);
      if (inode->serial != serial) co_return lost();
      if (step.has_value() && outcome.no_space == 0) continue;
    } else if (outcome.again != 0 && chunk->view->version == version) {
      const Deadline deadline = runtime_.after(kMetaTimeout);
      step = co_await map_.refresh(inode, chunk, deadline);
      if (inode->serial != serial) co_return lost();
      if (chunk->view->version != version) continue;
    }
    if (step.has_value() && outcome.no_space != 0) {
      step = fail(Code::kNoSpace, "a chunk server is full");
    }
    if (!step.has_value() && !waits_for(step.error())) co_return step;
    co_await pause(&backoff);
    if (inode->serial != serial) co_return lost();
  }
  chunk->fresh &= ~participants;
  chunk->stray &= ~participants;
  chunk->undecided.erase(seq);
  chunk->last_op = runtime_.now();
  co_return Status();
}

bool Writer::settle(const InodePtr& inode, Duration idle) {
  bool all = true;
  const Instant now = runtime_.now();
  for (const auto& [index, chunk] : inode->chunks) {
    if (chunk->view == nullptr || chunk->opened != inode->epoch) continue;
    const OpSeq below = chunk->settled_below();
    if (below <= chunk->settled_told && chunk->undecided.empty()) continue;
    if (below <= chunk->settled_told || now - chunk->last_op < idle) {
      all = false;
      continue;
    }
    chunk->settled_told = below;
    for (unsigned i = 0; i < chunk->view->pieces.size(); ++i) {
      if ((chunk->view->current & piece_bit(i)) == 0) continue;
      pb::Settle settle;
      settle.set_chunk(chunk->view->id.raw());
      settle.set_piece(i);
      settle.set_epoch(inode->epoch.raw());
      settle.set_settled_below(below.raw());
      net::Payload payload;
      payload.meta = settle.SerializeAsString();
      links_.post(chunk->view->pieces[i].address, pb::OP_SETTLE, std::move(payload));
    }
  }
  return all;
}

}  // namespace cairn::client
