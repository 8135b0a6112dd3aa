#include "mds/master/recovery.h"

#include <algorithm>

#include "mds/state/machine.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

namespace {

constexpr Duration kBackOffFirst = 100ms;
constexpr Duration kBackOffMax = 2s;

PieceReport to_report(unsigned piece, const pb::SealReply& reply) {
  PieceReport report{.piece = piece, .undecided = {}, .settled_epoch = reply.settled_epoch(),
                     .settled_below = reply.settled_below()};
  for (const pb::SealReply::Undecided& held : reply.undecided()) {
    report.undecided.push_back(
        {.op = OpName{.epoch = held.epoch(), .seq = held.seq()}, .participants = held.participants()});
  }
  return report;
}

}  // namespace

Task<Status> Recovery::recover_inode(InodeId inode) {
  const auto running = running_.find(inode);
  if (running != running_.end()) {
    runtime::Completion<Status> done(env_.runtime);
    running->second.push_back(done);
    Status shared = co_await done.wait();
    co_return shared;
  }
  running_[inode];
  Status status = co_await recover_chunks(inode);
  auto waiting = running_.extract(inode);
  for (runtime::Completion<Status>& waiter : waiting.mapped()) waiter.set(status);
  co_return status;
}

Task<Status> Recovery::recover_chunks(InodeId inode) {
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
  co_return Status();
}

Task<void> Recovery::recover_one(Recovery* self, ChunkId chunk, Status* outcome) {
  *outcome = co_await self->recover_chunk(chunk);
}

Task<Status> Recovery::recover_chunk(ChunkId chunk) {
  Memory memory;
  Duration back_off = kBackOffFirst;
  bool told = false;
  for (;;) {
    if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
    {
      const runtime::Semaphore::Permit permit = co_await budget_.acquire(1);
      Status done = co_await attempt(chunk, &memory);
      if (done.has_value()) co_return done;
      const Code code = done.error().code();
      if (code == Code::kCancelled || code == Code::kDiskFailed) co_return done;
      if (!told) {
        env_.log.warning("chunk {} of a lost writer waits for its recovery: {}", chunk.raw(),
                         done.error().to_string());
      }
      told = true;
    }
    co_await runtime::sleep_for(env_.runtime, back_off);
    back_off = std::min(back_off * 2, kBackOffMax);
  }
}

Task<Status> Recovery::attempt(ChunkId chunk, Memory* memory) {
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
  CO_TRY_VOID(decide(&sealing, memory));
  for (unsigned i = 0; i < pieces; ++i) {
    if (sealing.reports[i].has_value()) group.spawn(resolve_piece(this, &sealing, i));
  }
  co_await group.join();
  Status finished = co_await finish(&sealing);
  co_return finished;
}

Task<void> Recovery::seal_piece(Recovery* self, Sealing* sealing, unsigned piece) {
  const pb::Piece& place = sealing->chunk.pieces(static_cast<int>(piece));
  std::string address = self->cs_board_.address(place.cs_id());
  if (address.empty()) co_return;
  pb::Seal seal;
  seal.set_chunk(sealing->chunk.id());
  seal.set_piece(piece);
  seal.set_version(sealing->chunk.version());
  seal.set_epoch(sealing->epoch);
  net::Payload request;
  request.meta = seal.SerializeAsString();
  const Deadline deadline = self->env_.runtime.after(self->env_.settings.cs_call);
  Result<net::Payload> answer = co_await self->links_.call(std::move(address), pb::OP_SEAL,
                                                           std::move(request), deadline);
  if (!answer.has_value()) {
    if (answer.error().code() == Code::kPieceMissing) sealing->absent[piece] = true;
    co_return;
  }
  pb::SealReply reply;
  if (!reply.ParseFromString(answer->meta)) co_return;
  sealing->reports[piece] = to_report(piece, reply);
}

Status Recovery::decide(Sealing* sealing, Memory* memory) {
  // A piece its CS never heard of: the writer died before its first PREPARE arrived. Counting it out is always
  // right; only if too few were left is it taken as what it is, an empty piece.
  unsigned reachable = 0;
  unsigned unwritten = 0;
  for (const pb::Piece& piece : sealing->chunk.pieces()) {
    if (piece.state() == pb::PIECE_UNWRITTEN) ++unwritten;
    if (sealing->reports[piece.index()].has_value()) ++reachable;
  }
  const unsigned needed = std::max(sealing->chunk.encoding().min(), sealing->chunk.encoding().data());
  for (unsigned i = 0; i < sealing->absent.size(); ++i) {
    if (!sealing->absent[i] || reachable + unwritten >= needed) continue;
    sealing->reports[i] = PieceReport{.piece = i, .undecided = {}, .settled_epoch = 0,
                                      .settled_below = 0};
    ++reachable;
  }
  if (reachable + unwritten < needed) {
    return fail(Code::kBelowMinimum,
                fmt::format("{} of its pieces can be reached, {} are needed",
                            reachable + unwritten, needed));
  }
  std::vector<PieceReport> reports;
  for (std::optional<PieceReport>& report : sealing->reports) {
    if (!report.has_value()) continue;
    const auto [first, fresh] = memory->first_reports.try_emplace(report->piece, *report);
    reports.push_back(first->second);
  }
  TRY(const std::vector<OpName> forward, ops_to_forward(reports));
  for (const PieceReport& report : reports) {
    for (const PieceReport::Undecided& held : report.undecided) {
      const bool goes = std::binary_search(forward.begin(), forward.end(), held.op);
      memory->forward.try_emplace(held.op, goes);
    }
  }
  for (const auto& [op, goes] : memory->forward) {
    if (goes) sealing->forward.push_back(op);
  }
  return {};
}

Task<void> Recovery::resolve_piece(Recovery* self, Sealing* sealing, unsigned piece) {
  if (sealing->absent[piece]) {
    sealing->resolved[piece] = true;
    co_return;
  }
  std::string address =
      self->cs_board_.address(sealing->chunk.pieces(static_cast<int>(piece)).cs_id());
  pb::Resolve resolve;
  resolve.set_chunk(sealing->chunk.id());
  resolve.set_piece(piece);
  resolve.set_version(sealing->chunk.version());
  resolve.set_epoch(sealing->epoch);
  for (const OpName& op : sealing->forward) {
    pb::Resolve::OpId* id = resolve.add_forward();
    id->set_epoch(op.epoch);
    id->set_seq(op.seq);
  }
  net::Payload request;
  request.meta = resolve.SerializeAsString();
  const Deadline deadline = self->env_.runtime.after(self->env_.settings.cs_call);
  const Result<net::Payload> answer = co_await self->links_.call(
      std::move(address), pb::OP_RESOLVE, std::move(request), deadline);
  sealing->resolved[piece] = answer.has_value();
}

Task<Status> Recovery::finish(Sealing* sealing) {
  std::uint32_t unreachable = 0;
  unsigned resolved = 0;
  for (const pb::Piece& piece : sealing->chunk.pieces()) {
    if (piece.state() == pb::PIECE_UNWRITTEN) ++resolved;
    if (piece.state() != pb::PIECE_CURRENT) continue;
    if (sealing->resolved[piece.index()]) {
      ++resolved;
    } else {
      unreachable |= 1U << piece.index();
    }
  }
  if (resolved < sealing->chunk.encoding().data()) {
    co_return fail(Code::kTooFewPieces, "too few pieces could be resolved");
  }
  pb::Command command;
  pb::FinishRecovery* finish = command.mutable_finish_recovery();
  finish->set_chunk(sealing->chunk.id());
  finish->set_version(sealing->chunk.version());
  finish->set_unreachable(unreachable);
  const Result<pb::CommandReply> finished = co_await env_.commands.run(std::move(command));
  if (!finished.has_value()) co_return fail(finished.error());
  if (unreachable != 0) {
    env_.log.warning("chunk {} was recovered without pieces {:#x}: they could not be reached",
                     sealing->chunk.id(), unreachable);
  }
  co_return Status();
}

}  // namespace cairn::mds::master
