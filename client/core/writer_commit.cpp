// One write op: PREPARE to all participants until it is decided.
#include <bit>
#include <optional>
#include <utility>

#include "client/core/retry.h"
#include "client/core/writer.h"
#include "client/core/writer_ops.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {

constexpr Duration kPrepareTimeout = 8s;
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

// The answers to one round of PREPAREs. Who works on the op may leave before the last one came:
// when the pieces that are still to answer are missing by then.
struct Writer::Round {
  Commit it;
  std::vector<std::optional<Status>> answers;  // by piece
  PieceMask waiting = 0;                       // for these
};

bool Writer::Commit::decidable() const {
  const ChunkView& view = *chunk->view;
  const PieceMask pending = state().pending;
  const bool early =
      sabotage.decide_early && pending != participants && std::has_single_bit(pending);
  const bool marked = (regions & ~view.marked) == 0 || sabotage.skip_regions;
  return (pending == 0 || early) && marked && view.live() >= view.minimum;
}

net::Payload Writer::prepare(const Commit& it, unsigned piece) {
  const PieceWrite& write = it.op->pieces[piece];
  const ChunkState& chunk = *it.chunk;
  const layout::FileLayout& layout = *it.inode->layout;
  pb::Prepare prepare;
  prepare.set_chunk(chunk.view->id.raw());
  prepare.set_piece(piece);
  prepare.set_version(chunk.view->version.raw());
  prepare.set_epoch(it.inode->epoch.raw());
  prepare.set_seq(it.seq.raw());
  prepare.set_settled_below(chunk.settled_below().raw());
  prepare.set_participants(it.participants);
  prepare.set_generator(erasure::kGeneratorVersion);
  prepare.set_data(layout.encoding().data);
  prepare.set_parity(layout.encoding().parity);
  prepare.set_cell_bytes(static_cast<std::uint32_t>(layout.cell_bytes()));
  prepare.set_inode(it.inode->id.raw());
  prepare.set_chunk_index(chunk.index);
  prepare.set_create((chunk.fresh & piece_bit(piece)) != 0);
  add_ranges(prepare.mutable_writes(), write.writes);
  add_ranges(prepare.mutable_zeroes(), write.zeroes);
  add_ranges(prepare.mutable_deltas(), write.deltas);
  prepare.set_crcs(write.crcs);
  prepare.set_unaligned(write.unaligned);
  net::Payload payload;
  payload.meta = prepare.SerializeAsString();
  payload.body = write.body;
  return payload;
}

Task<void> Writer::send_one(std::shared_ptr<Round> round, unsigned piece) {
  const Commit& it = round->it;
  const Deadline deadline = runtime_.after(kPrepareTimeout);
  Status status;
  for (int attempt = 0;; ++attempt) {
    const std::string address = it.chunk->view->pieces[piece].address;
    net::Payload request = prepare(it, piece);
    const Result<net::Payload> answer =
        co_await links_.call(address, pb::OP_PREPARE, std::move(request), deadline);
    status = Status();
    if (answer.has_value()) break;
    status = fail(answer.error());
    // Again: a bit may have flipped on the way, the connection may be all that broke, or the chunk
    // server is just being restarted.
    const Code code = answer.error().code();
    const bool broken = code == Code::kConnectionLost || code == Code::kUnavailable;
    const Duration down = links_.down_for(address);
    const bool once = code == Code::kOverloaded || code == Code::kChecksumMismatch ||
                      (broken && down == Duration());
    const bool again = (once && attempt == 0) || (broken && down < options_.restart_grace);
    if (!again || it.gone() || session_.stopping()) break;
    if (attempt != 0 && runtime_.now() + kRestartPause >= deadline) break;
    if (attempt != 0) co_await runtime::sleep_for(runtime_, kRestartPause);
    if (it.gone() || (it.chunk->view->current & piece_bit(piece)) == 0) break;
  }
  round->waiting &= ~piece_bit(piece);
  if (status.has_value() && !it.gone()) {
    const auto state = it.chunk->undecided.find(it.seq);
    if (state != it.chunk->undecided.end()) {
      state->second.pending &= ~piece_bit(piece);
      if (state->second.pending == 0 && it.chunk->holding) it.chunk->changed.notify_all();
    }
  }
  round->answers[piece] = std::move(status);
  it.news->notify_all();
}

Writer::Outcome Writer::outcome(const Round& round) const {
  Outcome outcome;
  for (unsigned i = 0; i < round.answers.size(); ++i) {
    const std::optional<Status>& status = round.answers[i];
    if (!status.has_value() || status->has_value()) continue;
    switch (status->error().code()) {
      case Code::kStaleEpoch:
      case Code::kLeaseExpired:
        outcome.fenced = true;
        break;
      case Code::kNoSpace:
        outcome.no_space |= piece_bit(i);
        break;
      case Code::kStaleVersion:
      case Code::kOverloaded:
      case Code::kCancelled:
        outcome.again |= piece_bit(i);
        break;
      default:
        log_.warning("inode {}: piece {} of chunk {} took no write: {}", round.it.inode->id.raw(),
                     i, round.it.chunk->index, status->error().to_string());
        outcome.failed |= piece_bit(i);
    }
  }
  return outcome;
}

Task<Status> Writer::send_round(Commit* it) {
  runtime::Semaphore::Permit permit = co_await in_flight_.acquire(it->op->bytes + kBlockBytes);
  if (it->gone()) co_return lost();
  const std::shared_ptr<const ChunkView> sent_to = it->chunk->view;
  const auto round = std::make_shared<Round>(Round{*it, {}, it->state().pending});
  round->answers.resize(it->op->pieces.size());
  const PieceMask asked = round->waiting;
  for (unsigned i = 0; i < it->op->pieces.size(); ++i) {
    if ((asked & piece_bit(i)) != 0) tasks_.spawn(send_one(round, i));
  }
  while (!it->gone() && (round->waiting & it->chunk->view->current) != 0 && !it->decidable()) {
    co_await it->news->wait_until(Instant::infinite());
  }
  permit.release();
  if (it->gone()) co_return lost();
  if (it->decidable()) co_return Status();
  Task<Status> resolving = resolve_round(it, sent_to, outcome(*round));
  co_return co_await resolving;
}

// A piece that failed is dropped, unless its server is elsewhere by now; an old map is replaced.
Task<Status> Writer::resolve_round(Commit* it, std::shared_ptr<const ChunkView> sent_to,
                                   Outcome outcome) {
  if (outcome.fenced) co_return lost();
  const PieceMask current = it->chunk->view->current;
  outcome.failed &= current;
  const Deadline deadline = runtime_.after(kMetaTimeout);
  if (outcome.failed != 0) {
    const bool moved = co_await has_moved(it->inode, it->chunk, sent_to, outcome.failed);
    if (it->gone()) co_return lost();
    if (moved) co_return Status();
    const Status dropped =
        co_await map_.drop(it->inode, it->chunk, sent_to->version, outcome.failed, deadline);
    if (!dropped.has_value()) co_return dropped;
  } else if ((outcome.again & current) != 0 && it->chunk->view->version == sent_to->version) {
    const Status looked = co_await map_.refresh(it->inode, it->chunk, deadline);
    if (!looked.has_value()) co_return looked;
    if (it->chunk->view->version == sent_to->version) {
      co_return fail(Code::kOverloaded, "a chunk server takes no writes now");
    }
  }
  if ((outcome.no_space & current) != 0) co_return fail(Code::kNoSpace, "a chunk server is full");
  co_return Status();
}

Task<bool> Writer::has_moved(InodePtr inode, ChunkPtr chunk,
                             std::shared_ptr<const ChunkView> sent_to, PieceMask failed) {
  PieceMask unreached = 0;
  for (unsigned i = 0; i < sent_to->pieces.size(); ++i) {
    if ((failed & piece_bit(i)) == 0) continue;
    if (links_.may_have_moved(sent_to->pieces[i].address)) unreached |= piece_bit(i);
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

// All current pieces have the op. It waits for the master.
Task<Status> Writer::wait_quiet(Commit* it) {
  const ChunkPtr chunk = it->chunk;
  const auto is_short = [&chunk] { return chunk->view->live() < chunk->view->minimum; };
  const Counted waiting(is_short() ? &waiting_ : nullptr);
  const Deadline deadline = runtime_.after(kMetaTimeout);
  // Also under a hold: it waits for that.
  if (!chunk->must_open && (it->regions & ~chunk->view->marked) != 0) {
    const Status marked = co_await map_.mark(it->inode, chunk, it->regions, deadline);
    co_return marked;
  }
  if (chunk->holding) {
    co_await it->news->wait_until(Instant::infinite());
    co_return Status();
  }
  if (chunk->must_open) {
    const Status opened = co_await map_.open(it->inode, chunk, 0, deadline);
    co_return opened;
  }
  const Status looked = co_await map_.refresh(it->inode, chunk, deadline);
  if (!looked.has_value() || !is_short() || chunk->must_open || chunk->holding) co_return looked;
  co_return fail(Code::kBelowMinimum, "chunk " + std::to_string(chunk->view->id.raw()) +
                                          " has too few pieces: it is being repaired");
}

Task<Status> Writer::step(Commit* it) {
  if (it->state().pending != 0) {
    const Status sent = co_await send_round(it);
    co_return sent;
  }
  const Status waited = co_await wait_quiet(it);
  co_return waited;
}

// Soft mounts give up as well, but not before pieces had time to come back.
bool Writer::is_patient(const Commit& it, const Error& error) const {
  if (waits_for(error)) return true;
  switch (error.code()) {
    case Code::kBelowMinimum:
    case Code::kTooFewPieces:
    case Code::kOverloaded:
    case Code::kStaleVersion:
      return runtime_.now() < it.give_up;
    default:
      return false;
  }
}

Task<void> Writer::pause_for(std::shared_ptr<Event> news, Backoff* backoff) {
  const Counted waiting(&waiting_);
  const Deadline until = runtime_.after(backoff->next(runtime_.random()));
  co_await news->wait_until(until);
}

void Writer::decide(const Commit& it) {
  ChunkState& chunk = *it.chunk;
  chunk.fresh &= ~it.participants;
  chunk.stray &= ~it.participants;
  chunk.undecided.erase(it.seq);
  if (chunk.holding) chunk.changed.notify_all();
}

void Writer::begin(Commit* it) {
  ChunkState& chunk = *it->chunk;
  it->seq = chunk.next_seq;
  it->give_up = runtime_.after(options_.operation_timeout);
  it->news = std::make_shared<Event>(runtime_);
  it->sabotage = options_.sabotage;
  chunk.next_seq = it->seq.next();
  chunk.undecided.emplace(it->seq, ChunkState::OpenOp{it->regions, it->participants, it->news});
}

Task<Status> Writer::commit(InodePtr inode, ChunkPtr chunk, OpPtr op) {
  CHECK(chunk->is_open(inode->epoch));
  Commit it;
  it.inode = inode;
  it.chunk = chunk;
  it.op = op;
  it.serial = inode->serial;
  it.participants = (op->writes_mask() | op->zeroes_only_mask()) & chunk->view->current;
  it.regions = regions_of(*op, inode->layout->piece_bytes() / kBlockBytes);
  // Holes where nothing is.
  if (it.participants == 0 && (chunk->view->all_live() || it.regions == 0)) co_return Status();
  begin(&it);
  mark_ahead(it);
  Backoff backoff(kWaitFirst, kWaitMost);
  while (!it.decidable()) {
    const Status done = co_await step(&it);
    if (it.gone()) co_return lost();
    if (session_.stopping()) co_return fail(Code::kCancelled, "the mount is being stopped");
    if (done.has_value()) continue;
    if (!is_patient(it, done.error())) co_return done;
    co_await pause_for(it.news, &backoff);
    if (it.gone()) co_return lost();
  }
  decide(it);
  chunk->last_op = runtime_.now();
  co_return Status();
}

}  // namespace cairn::client
