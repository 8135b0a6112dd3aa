#include "mds/master/recovery.h"

#include <algorithm>
#include <bit>
#include <map>

#include "common/erasure/codec.h"
#include "mds/state/machine.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

namespace {

constexpr Duration kBackOffFirst = 100ms;
constexpr Duration kBackOffMax = 2s;
// The op that makes an empty piece has a number that no writer uses: they count from 1.
constexpr std::uint64_t kMakingSeqs = 1ULL << 63;

constexpr std::uint64_t kBlockBytes = 4096;

PieceReport to_report(unsigned piece, const pb::SealReply& reply) {
  PieceReport report{.piece = piece,
                     .undecided = {},
                     .settled_epoch = reply.settled_epoch(),
                     .settled_below = reply.settled_below()};
  for (const pb::SealReply::Undecided& held : reply.undecided()) {
    report.undecided.push_back({.op = OpName{.epoch = held.epoch(), .seq = held.seq()},
                                .participants = held.participants(),
                                .forwarded = held.forwarded()});
  }
  return report;
}

// Where the ops change something. One that does not tell may change anything.
layout::RegionMask regions_of(const pb::Chunk& chunk, const pb::SealReply& reply) {
  const std::uint64_t blocks = chunk.piece_bytes() / kBlockBytes;
  layout::RegionMask regions = 0;
  for (const pb::SealReply::Undecided& held : reply.undecided()) {
    const bool told = held.first_block() < held.end_block() && held.end_block() <= blocks;
    if (!told) return layout::kAllRegions;
    regions |= layout::regions_of(
        {.first = held.first_block(), .count = held.end_block() - held.first_block()}, blocks);
  }
  return regions;
}

}  // namespace

Task<Status> Recovery::recover_inode(InodeId inode, Deadline deadline) {
  const bool first = !running_.contains(inode);
  runtime::Completion<Status> done(env_.runtime);
  const std::uint64_t waiter = ++last_waiter_;
  running_[inode].emplace(waiter, done);
  if (first) env_.tasks.spawn(recover_for_all(this, inode));
  if (deadline == Instant::infinite()) {
    Status status = co_await done.wait();
    co_return status;
  }
  std::optional<Status> status = co_await done.wait_until(deadline);
  if (status.has_value()) co_return std::move(*status);
  const auto running = running_.find(inode);
  if (running != running_.end()) running->second.erase(waiter);
  co_return fail(Code::kTimeout, "a lost writer's chunks could not be recovered in time");
}

Task<void> Recovery::recover_for_all(Recovery* self, InodeId inode) {
  const Status status = co_await self->recover_chunks(inode);
  auto waiting = self->running_.extract(inode);
  for (auto& [number, waiter] : waiting.mapped()) waiter.set(status);
}

Task<Status> Recovery::recover_chunks(InodeId inode) {
  for (;;) {
    CO_TRY(const std::vector<pb::Chunk> open, state::queries::open_chunks(env_.tables, inode));
    if (open.empty()) co_return Status();
    std::vector<Status> outcomes(open.size());
    runtime::TaskGroup group(env_.runtime);
    for (std::size_t i = 0; i < open.size(); ++i) {
      group.spawn(recover_one(this, ChunkId::from_raw(open[i].id()), &outcomes[i]));
    }
    co_await group.join();
    for (Status& outcome : outcomes) {
      if (!outcome.has_value()) co_return std::move(outcome);
    }
    // Again: whoever joined late may have seen a chunk opened after the list was made.
  }
}

Task<void> Recovery::recover_one(Recovery* self, ChunkId chunk, Status* outcome) {
  *outcome = co_await self->recover_chunk(chunk);
}

Task<Status> Recovery::recover_chunk(ChunkId chunk) {
  Duration back_off = kBackOffFirst;
  bool told = false;
  for (;;) {
    if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
    {
      const runtime::Semaphore::Permit permit = co_await budget_.acquire(1);
      Status done = co_await attempt(chunk);
      if (done.has_value()) co_return done;
      const Code code = done.error().code();
      if (code == Code::kCancelled || code == Code::kDiskFailed) co_return done;
      if (!told) {
        env_.log.warning("chunk {} of a lost writer waits for its recovery: {}", chunk.raw(),
                         done.error().to_string());
      }
      told = true;
    }
    co_await pause(env_, back_off);
    back_off = std::min(back_off * 2, kBackOffMax);
  }
}

Task<Status> Recovery::attempt(ChunkId chunk) {
  const Result<pb::Chunk> present = state::queries::chunk(env_.tables, chunk);
  if (!present.has_value()) {
    // Truncated or purged meanwhile: nothing is left to recover.
    if (present.error().code() == Code::kNotFound) co_return Status();
    co_return fail(present.error());
  }
  if (present->writer_epoch() == 0) co_return Status();

  pb::Command begin;
  begin.mutable_begin_recovery()->set_chunk(chunk.raw());
  Result<pb::CommandReply> begun = co_await env_.commands.run(std::move(begin));
  if (!begun.has_value()) co_return fail(std::move(begun).error());

  Sealing sealing;
  sealing.chunk = std::move(*begun->mutable_chunk());
  sealing.epoch = begun->lease_epoch();
  const std::size_t pieces = static_cast<std::size_t>(sealing.chunk.pieces_size());
  sealing.reports.resize(pieces);
  sealing.absent.resize(pieces);
  sealing.resolved.resize(pieces);
  runtime::TaskGroup group(env_.runtime);
  for (unsigned i = 0; i < pieces; ++i) {
    if (sealing.chunk.pieces(static_cast<int>(i)).state() != pb::PIECE_CURRENT) continue;
    group.spawn(seal_piece(this, &sealing, i));
  }
  co_await group.join();
  const std::vector<unsigned> needed = absent_but_needed(sealing);
  for (const unsigned piece : needed) group.spawn(make_piece(this, &sealing, piece));
  co_await group.join();
  Status decided = decide(&sealing);
  if (!decided.has_value()) {
    if (!never_committed(sealing.chunk)) co_return decided;
    // The chunk goes with the lost lease, whatever its pieces hold.
    Status gone = co_await finish(&sealing, 0);
    co_return gone;
  }
  for (unsigned i = 0; i < pieces; ++i) {
    if (sealing.reports[i].has_value()) group.spawn(resolve_piece(this, &sealing, i));
  }
  co_await group.join();
  std::uint32_t unreachable = 0;
  for (const pb::Piece& piece : sealing.chunk.pieces()) {
    if (piece.state() != pb::PIECE_CURRENT || sealing.resolved[piece.index()]) continue;
    unreachable |= 1U << piece.index();
  }
  Status finished = co_await finish(&sealing, unreachable);
  co_return finished;
}

// Nothing of it lies below the size the master knows, and nobody can make that grow any more.
bool Recovery::never_committed(const pb::Chunk& chunk) const {
  const Result<pb::InodeRecord> inode =
      state::queries::inode(env_.tables, InodeId::from_raw(chunk.inode()));
  const std::uint64_t chunk_bytes = chunk.piece_bytes() * chunk.encoding().data();
  return inode.has_value() && chunk.index() * chunk_bytes >= inode->attributes().size();
}

Task<Result<net::Payload>> Recovery::call_piece(const Sealing* sealing, unsigned piece,
                                                std::uint16_t op, std::string meta) {
  const std::uint32_t cs = sealing->chunk.pieces(static_cast<int>(piece)).cs_id();
  std::string address = cs_board_.address(cs);
  if (address.empty()) co_return fail(Code::kUnavailable, "the address of the CS is unknown");
  net::Payload request;
  request.meta = std::move(meta);
  const Deadline deadline = env_.runtime.after(env_.settings.cs_call);
  Result<net::Payload> answer =
      co_await links_.call(std::move(address), op, std::move(request), deadline);
  co_return answer;
}

Task<void> Recovery::seal_piece(Recovery* self, Sealing* sealing, unsigned piece) {
  pb::Seal seal;
  seal.set_chunk(sealing->chunk.id());
  seal.set_piece(piece);
  seal.set_version(sealing->chunk.version());
  seal.set_epoch(sealing->epoch);
  std::string meta = seal.SerializeAsString();
  const Result<net::Payload> answer =
      co_await self->call_piece(sealing, piece, pb::OP_SEAL, std::move(meta));
  if (!answer.has_value()) {
    if (answer.error().code() == Code::kPieceMissing) sealing->absent[piece] = true;
    co_return;
  }
  pb::SealReply reply;
  if (!reply.ParseFromString(answer->meta)) co_return;
  sealing->reports[piece] = to_report(piece, reply);
  sealing->regions |= regions_of(sealing->chunk, reply);
}

// Pieces that may stay: told what they have, or never written.
unsigned Recovery::usable(const Sealing& sealing) {
  unsigned count = 0;
  for (const pb::Piece& piece : sealing.chunk.pieces()) {
    const bool unwritten = piece.state() == pb::PIECE_UNWRITTEN;
    if (unwritten || sealing.reports[piece.index()].has_value()) ++count;
  }
  return count;
}

// A piece its CS has not: most likely the writer died between OpenChunk and its first PREPARE, but
// a lost piece looks the same. So it counts as lost while enough others are there. If too few are
// left it is taken for never written, and made empty.
std::vector<unsigned> Recovery::absent_but_needed(const Sealing& sealing) {
  const unsigned there = usable(sealing);
  std::vector<unsigned> needed;
  for (unsigned i = 0; i < sealing.absent.size(); ++i) {
    if (sealing.absent[i] && there + needed.size() < sealing.chunk.encoding().data())
      needed.push_back(i);
  }
  return needed;
}

Status Recovery::check_enough(const Sealing& sealing) {
  const unsigned there = usable(sealing);
  const unsigned least = sealing.chunk.encoding().data();
  if (there >= least) return {};
  return fail(Code::kTooFewPieces,
              fmt::format("{} of its pieces can be used, {} are needed", there, least));
}

// Planted by tests: what most of the pieces hold is taken for held by all, the rest for unknown.
void Recovery::vote(std::vector<PieceReport>* reports) {
  std::map<OpName, std::vector<PieceReport::Undecided>> votes;
  for (PieceReport& report : *reports) {
    for (const PieceReport::Undecided& held : report.undecided) votes[held.op].push_back(held);
    report.undecided.clear();
  }
  for (const auto& [op, held] : votes) {
    const auto participants = static_cast<std::size_t>(std::popcount(held.front().participants));
    if (held.size() * 2 <= participants) continue;
    for (PieceReport& report : *reports) {
      const bool takes_part = (held.front().participants >> report.piece & 1U) != 0;
      if (takes_part) report.undecided.push_back(held.front());
    }
  }
}

// Nothing is remembered from one attempt to the next, nor from one life of the master to the next:
// the pieces tell what they cannot undo.
Status Recovery::decide(Sealing* sealing) const {
  TRY_VOID(check_enough(*sealing));
  std::vector<PieceReport> reports;
  for (const std::optional<PieceReport>& report : sealing->reports) {
    if (report.has_value()) reports.push_back(*report);
  }
  if (env_.settings.sabotage.resolve_by_majority) vote(&reports);
  // Unwritten pieces stay whatever is decided.
  const unsigned unwritten = usable(*sealing) - static_cast<unsigned>(reports.size());
  const unsigned data = sealing->chunk.encoding().data();
  TRY(Resolution resolution, resolve_ops(reports, data - std::min(data, unwritten)));
  sealing->forward = std::move(resolution.forward);
  for (std::optional<PieceReport>& report : sealing->reports) {
    if (report.has_value() && (resolution.stale >> report->piece & 1U) != 0) report.reset();
  }
  return check_enough(*sealing);
}

// A PREPARE without blocks: all it does is to make the piece with this version, which fences it. It
// has the writer's epoch: that of the seal would say that the writer's ops are settled here.
std::string Recovery::make_message(const Sealing& sealing, unsigned piece) {
  pb::Prepare prepare;
  prepare.set_chunk(sealing.chunk.id());
  prepare.set_piece(piece);
  prepare.set_version(sealing.chunk.version());
  prepare.set_epoch(sealing.chunk.writer_epoch());
  prepare.set_seq(kMakingSeqs | piece);
  prepare.set_participants(1U << piece);
  prepare.set_generator(erasure::kGeneratorVersion);
  prepare.set_data(sealing.chunk.encoding().data());
  prepare.set_parity(sealing.chunk.encoding().parity());
  prepare.set_cell_bytes(sealing.chunk.cell_bytes());
  prepare.set_inode(sealing.chunk.inode());
  prepare.set_chunk_index(sealing.chunk.index());
  prepare.set_create(true);
  return prepare.SerializeAsString();
}

std::string Recovery::resolve_message(const Sealing& sealing, unsigned piece) {
  pb::Resolve resolve;
  resolve.set_chunk(sealing.chunk.id());
  resolve.set_piece(piece);
  resolve.set_version(sealing.chunk.version());
  resolve.set_epoch(sealing.epoch);
  for (const OpName& op : sealing.forward) {
    pb::Resolve::OpId* id = resolve.add_forward();
    id->set_epoch(op.epoch);
    id->set_seq(op.seq);
  }
  return resolve.SerializeAsString();
}

// Sealed like the others once it is there: something late may have come to life in it before.
Task<void> Recovery::make_piece(Recovery* self, Sealing* sealing, unsigned piece) {
  std::string meta = make_message(*sealing, piece);
  const Result<net::Payload> made =
      co_await self->call_piece(sealing, piece, pb::OP_PREPARE, std::move(meta));
  if (made.has_value()) co_await seal_piece(self, sealing, piece);
}

Task<void> Recovery::resolve_piece(Recovery* self, Sealing* sealing, unsigned piece) {
  std::string meta = resolve_message(*sealing, piece);
  const Result<net::Payload> answer =
      co_await self->call_piece(sealing, piece, pb::OP_RESOLVE, std::move(meta));
  sealing->resolved[piece] = answer.has_value();
}

Task<Status> Recovery::finish(Sealing* sealing, std::uint32_t unreachable) {
  pb::Command command;
  pb::FinishRecovery* finish = command.mutable_finish_recovery();
  finish->set_chunk(sealing->chunk.id());
  finish->set_version(sealing->chunk.version());
  finish->set_unreachable(unreachable);
  finish->set_regions(env_.settings.sabotage.forget_regions ? 0 : sealing->regions);
  // Refused (kTooFewPieces) when too few pieces were resolved: then everything is tried again.
  const Result<pb::CommandReply> finished = co_await env_.commands.run(std::move(command));
  if (!finished.has_value()) co_return fail(finished.error());
  if (unreachable != 0) {
    env_.log.warning("chunk {} was recovered without pieces {:#x}: they could not be reached",
                     sealing->chunk.id(), unreachable);
  }
  on_settled_(finished->chunk());
  co_return Status();
}

}  // namespace cairn::mds::master
