#include "mds/master/recovery.h"

#include <algorithm>

#include "common/erasure/codec.h"
#include "mds/state/machine.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

namespace {

constexpr Duration kBackOffFirst = 100ms;
constexpr Duration kBackOffMax = 2s;

PieceReport to_report(unsigned piece, const pb::SealReply& reply) {
  PieceReport report{.piece = piece,
                     .undecided = {},
                     .settled_epoch = reply.settled_epoch(),
                     .settled_below = reply.settled_below()};
  for (const pb::SealReply::Undecided& held : reply.undecided()) {
    report.undecided.push_back({.op = OpName{.epoch = held.epoch(), .seq = held.seq()},
                                .participants = held.participants()});
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
  sealing.make.resize(pieces);
  sealing.resolved.resize(pieces);
  runtime::TaskGroup group(env_.runtime);
  for (unsigned i = 0; i < pieces; ++i) {
    if (sealing.chunk.pieces(static_cast<int>(i)).state() != pb::PIECE_CURRENT) continue;
    group.spawn(seal_piece(this, &sealing, i));
  }
  co_await group.join();
  if (never_committed(sealing.chunk)) {
    // The chunk goes with FinishRecovery, whatever its pieces hold; the seals were a courtesy.
    Status gone = co_await finish(&sealing, 0);
    co_return gone;
  }
  CO_TRY_VOID(decide(&sealing, memory));
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
}

// A piece its CS has not: most likely the writer died between OpenChunk and its first PREPARE, but
// a lost piece looks the same. So it counts as lost while enough others are there. If too few are
// left it is taken for never written, and made empty behind the fence, so that nothing late comes
// to life in it.
Status Recovery::count_absent(Sealing* sealing) const {
  unsigned live = 0;
  for (const pb::Piece& piece : sealing->chunk.pieces()) {
    const bool unwritten = piece.state() == pb::PIECE_UNWRITTEN;
    if (unwritten || sealing->reports[piece.index()].has_value()) ++live;
  }
  const pb::Encoding& encoding = sealing->chunk.encoding();
  const unsigned needed = std::max(encoding.min(), encoding.data());
  for (unsigned i = 0; i < sealing->absent.size(); ++i) {
    if (!sealing->absent[i] || live >= needed) continue;
    sealing->reports[i] =
        PieceReport{.piece = i, .undecided = {}, .settled_epoch = 0, .settled_below = 0};
    sealing->make[i] = true;
    ++live;
  }
  if (live >= needed) return {};
  return fail(Code::kBelowMinimum,
              fmt::format("{} of its pieces can be reached, {} are needed", live, needed));
}

Status Recovery::decide(Sealing* sealing, Memory* memory) {
  TRY_VOID(count_absent(sealing));
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

// A PREPARE without blocks: all it does is to make the piece with this version and epoch.
std::string Recovery::make_message(const Sealing& sealing, unsigned piece) {
  pb::Prepare prepare;
  prepare.set_chunk(sealing.chunk.id());
  prepare.set_piece(piece);
  prepare.set_version(sealing.chunk.version());
  prepare.set_epoch(sealing.epoch);
  prepare.set_seq(1);
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

Task<void> Recovery::resolve_piece(Recovery* self, Sealing* sealing, unsigned piece) {
  const bool make = sealing->make[piece];
  const std::uint16_t op = make ? pb::OP_PREPARE : pb::OP_RESOLVE;
  std::string meta = make ? make_message(*sealing, piece) : resolve_message(*sealing, piece);
  const Result<net::Payload> answer =
      co_await self->call_piece(sealing, piece, op, std::move(meta));
  sealing->resolved[piece] = answer.has_value();
}

Task<Status> Recovery::finish(Sealing* sealing, std::uint32_t unreachable) {
  pb::Command command;
  pb::FinishRecovery* finish = command.mutable_finish_recovery();
  finish->set_chunk(sealing->chunk.id());
  finish->set_version(sealing->chunk.version());
  finish->set_unreachable(unreachable);
  // Refused (kBelowMinimum) when too few pieces were resolved: then everything is tried again.
  const Result<pb::CommandReply> finished = co_await env_.commands.run(std::move(command));
  if (!finished.has_value()) co_return fail(finished.error());
  if (unreachable != 0) {
    env_.log.warning("chunk {} was recovered without pieces {:#x}: they could not be reached",
                     sealing->chunk.id(), unreachable);
  }
  co_return Status();
}

}  // namespace cairn::mds::master
