// One repair: hold, place, copy, finish, release.
#include <algorithm>

#include "mds/master/repairs.h"
#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {

// A process that does not answer a ping in this time is no place for a copy now; a write that waits
// for the minimum has no time to lose.
constexpr Duration kPing = 1500ms;
constexpr Duration kPingPending = 700ms;
// The least that a copy must do in a second. (A copy that was given up goes on for a while, and the
// next attempt begins anew: rather too long than too short.)
constexpr std::uint64_t kCopyBytesPerSecond = 5'000'000;
constexpr Duration kCopyBase = 20s;
constexpr std::uint64_t kBlockBytes = 4096;
constexpr Duration kSealTime = 1s;

// Errors of a copy that say nothing against the place: the sources, the connection, other work.
bool is_fault_of_target(Code code) {
  switch (code) {
    case Code::kTooFewPieces:
    case Code::kConnectionLost:
    case Code::kBusy:
    case Code::kOverloaded:
    case Code::kCancelled:
    case Code::kUnsupported:
      return false;
    default:
      return true;
  }
}

const pb::Piece* missing_piece(const pb::Chunk& chunk, unsigned index) {
  if (index >= static_cast<unsigned>(chunk.pieces_size())) return nullptr;
  const pb::Piece& piece = chunk.pieces(static_cast<int>(index));
  return piece.state() == pb::PIECE_MISSING ? &piece : nullptr;
}

}  // namespace

void Repairs::enter(Job* job, Phase phase) {
  job->phase = phase;
  job->since = env_.runtime.now();
}

void Repairs::begin(RepairAction action, const Case& of) {
  const ChunkId chunk = action.chunk;
  env_.log.debug("repair of chunk {}: {}{}", chunk.raw(), action.why,
                 action.pending ? " (writes wait)" : "");
  const std::uint32_t cs = action.cs.raw();
  Job job{.action = std::move(action),
          .place = {.inode = InodeId::from_raw(of.request.chunk.inode()),
                    .index = of.request.chunk.index()},
          .holder = of.holder,
          .address = parts_.cs_board.address(cs),
          .since = env_.runtime.now()};
  if (!burst_.has_value()) {
    burst_.emplace();
    burst_->began = job.since;
    burst_->active = job.since;
  }
  jobs_.emplace(chunk, std::move(job));
  env_.tasks.spawn(carry_out(this, chunk));
}

Task<void> Repairs::carry_out(Repairs* self, ChunkId chunk) {
  Job* const job = &self->jobs_.at(chunk);
  const Status done = co_await self->attempt(job);
  self->ended(chunk, done);
}

Task<Status> Repairs::attempt(Job* job) {
  // Before the hold: nobody shall wait for a server that does not answer.
  job->fault = Fault::kSilentServer;
  CO_TRY_VOID(co_await call_server(job));
  job->fault = Fault::kNobody;
  // Another chunk lay there when a truncation took it away under its repair.
  if (parts_.holds.held(job->place)) {
    co_return fail(Code::kBusy, "the chunk that was at its place is still under repair");
  }
  job->fault = Fault::kHolder;
  enter(job, Phase::kHolding);
  const ChunkHolds::Hold hold = parts_.holds.hold(job->place, job->action.chunk);
  CO_TRY_VOID(co_await parts_.holds.settle(job->place));
  if (job->holder != SessionId()) memory_.answered(job->holder);
  enter(job, Phase::kCopying);
  const Status copied = co_await copy(job);
  done_.longest_hold = std::max(done_.longest_hold, env_.runtime.now() - job->since);
  co_return copied;
}

Task<Status> Repairs::call_server(Job* job) {
  if (job->address.empty()) co_return fail(Code::kUnavailable, "the address of the CS is unknown");
  std::string address = job->address;
  const Deadline deadline = env_.runtime.after(job->action.pending ? kPingPending : kPing);
  net::Payload nothing;
  const Result<net::Payload> answer =
      co_await links_.call(std::move(address), pb::OP_PING, std::move(nothing), deadline);
  if (!answer.has_value() && answer.error().code() != Code::kUnsupported) {
    co_return fail(answer.error());
  }
  co_return Status();
}

// The chunk is closed, and stays so.
Task<Status> Repairs::copy(Job* job) {
  job->fault = Fault::kNobody;
  CO_TRY(pb::Chunk chunk, state::queries::chunk(env_.tables, job->action.chunk));
  CO_TRY(const pb::InodeRecord inode, state::queries::inode(env_.tables, job->place.inode));
  if (missing_piece(chunk, job->action.piece) == nullptr) {
    co_return fail(Code::kStaleVersion, "the piece is not missing any more");
  }
  Result<pb::Chunk> placed = co_await place(job, std::move(chunk));
  if (!placed.has_value()) co_return fail(std::move(placed).error());
  const pb::Piece& piece = placed->pieces(static_cast<int>(job->action.piece));
  const std::uint64_t first_seq = std::max<std::uint64_t>(placed->seq_floor(), 1);
  pb::Repair repair;
  repair.set_piece(job->action.piece);
  repair.set_version(placed->version() + 1);
  repair.set_epoch(inode.lease_epoch());
  repair.set_first_seq(first_seq);
  repair.set_regions(piece.missed());
  repair.set_whole(piece.missed() == layout::kAllRegions);
  repair.set_blocks(placed->piece_bytes() / kBlockBytes);
  pb::FinishRepair finished;
  finished.set_chunk(placed->id());
  finished.set_version(placed->version());
  finished.set_piece(job->action.piece);
  finished.set_cs_id(piece.cs_id());
  *repair.mutable_chunk() = std::move(*placed);
  parts_.cs_board.fill_addresses(repair.mutable_chunk());

  job->fault = Fault::kServer;
  Result<pb::RepairReply> copied = co_await run_copy(job, repair);
  if (!copied.has_value() && copied.error().code() == Code::kPieceMissing && !repair.whole()) {
    // Its drive was changed, or the piece was never made there.
    repair.set_whole(true);
    repair.set_regions(layout::kAllRegions);
    copied = co_await run_copy(job, repair);
  }
  if (!copied.has_value()) co_return fail(std::move(copied).error());
  done_.bytes_read += copied->bytes_read();
  done_.bytes_written += copied->bytes_written();
  if (burst_.has_value()) burst_->bytes += copied->bytes_written();
  job->fault = Fault::kNobody;
  finished.set_next_seq(std::max(copied->next_seq(), first_seq));
  Result<pb::Chunk> whole = co_await finish(job, std::move(finished));
  if (!whole.has_value()) co_return fail(std::move(whole).error());
  // Beside it: the writer need not wait for that.
  env_.tasks.spawn(tell_current(this, std::move(*whole), inode.lease_epoch()));
  co_return Status();
}

// The other pieces get the version of the repaired one, and that one is confirmed: whoever has
// nothing but the drives takes pieces of the newest version for current, but not a copy of which
// nobody heard again. Best effort: the map knows better.
Task<void> Repairs::tell_current(Repairs* self, pb::Chunk chunk, std::uint64_t epoch) {
  runtime::TaskGroup group(self->env_.runtime);
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() != pb::PIECE_CURRENT) continue;
    pb::Seal seal;
    seal.set_chunk(chunk.id());
    seal.set_piece(piece.index());
    seal.set_version(chunk.version());
    seal.set_epoch(epoch);
    group.spawn(seal_one(self, piece.cs_id(), seal.SerializeAsString()));
  }
  co_await group.join();
}

Task<void> Repairs::seal_one(Repairs* self, std::uint32_t cs, std::string seal) {
  std::string address = self->parts_.cs_board.address(cs);
  if (address.empty()) co_return;
  net::Payload request;
  request.meta = std::move(seal);
  const Deadline deadline = self->env_.runtime.after(kSealTime);
  const Result<net::Payload> answer =
      co_await self->links_.call(std::move(address), pb::OP_SEAL, std::move(request), deadline);
  ignore(answer, "the map knows which pieces are current");
}

// Where the piece shall be, in the log; also when it stays where it is: every attempt has a version
// of its own, so that a copy asked for by an earlier one, or by an earlier master, is refused when
// it comes late.
Task<Result<pb::Chunk>> Repairs::place(Job* job, pb::Chunk chunk) {
  const bool there = missing_piece(chunk, job->action.piece)->cs_id() == job->action.cs.raw();
  if (!there && job->action.kind == RepairKind::kRejoin) {
    co_return fail(Code::kStaleVersion, "the piece has another place now");
  }
  pb::Command command;
  pb::PlacePiece* place = command.mutable_place_piece();
  place->set_chunk(chunk.id());
  place->set_version(chunk.version());
  place->set_piece(job->action.piece);
  place->set_cs_id(job->action.cs.raw());
  Result<pb::CommandReply> placed = co_await env_.commands.run(std::move(command));
  if (!placed.has_value()) co_return fail(std::move(placed).error());
  const pb::Piece* moved = missing_piece(placed->chunk(), job->action.piece);
  if (moved == nullptr || moved->cs_id() != job->action.cs.raw()) {
    co_return fail(Code::kInternal, "the log placed the piece elsewhere");
  }
  co_return std::move(*placed->mutable_chunk());
}

Task<Result<pb::RepairReply>> Repairs::run_copy(const Job* job, pb::Repair repair) {
  const std::uint64_t seconds = repair.chunk().piece_bytes() / kCopyBytesPerSecond;
  const Deadline deadline = env_.runtime.after(kCopyBase + 1s * static_cast<std::int64_t>(seconds));
  std::string address = job->address;
  net::Payload request;
  request.meta = repair.SerializeAsString();
  Result<net::Payload> answer =
      co_await links_.call(std::move(address), pb::OP_REPAIR, std::move(request), deadline);
  if (!answer.has_value()) co_return fail(std::move(answer).error());
  pb::RepairReply reply;
  if (!reply.ParseFromString(answer->meta)) {
    co_return fail(Code::kProtocol, "undecodable answer to a repair");
  }
  co_return reply;
}

Task<Result<pb::Chunk>> Repairs::finish(Job* job, pb::FinishRepair finish) {
  pb::Command command;
  *command.mutable_finish_repair() = std::move(finish);
  Result<pb::CommandReply> finished = co_await env_.commands.run(std::move(command));
  if (!finished.has_value()) co_return fail(finished.error());
  ++done_.pieces;
  if (burst_.has_value()) ++burst_->pieces;
  env_.log.debug("chunk {}: piece {} is current again at CS {}", job->action.chunk.raw(),
                 job->action.piece, job->action.cs.raw());
  co_return std::move(*finished->mutable_chunk());
}

void Repairs::ended(ChunkId chunk, const Status& done) {
  const Instant now = env_.runtime.now();
  const Job job = std::move(jobs_.extract(chunk).mapped());
  const std::uint32_t cs = job.action.cs.raw();
  if (done.has_value()) {
    memory_.repaired(chunk, cs, now);
  } else {
    const Code code = done.error().code();
    switch (job.fault) {
      case Fault::kSilentServer:
        // Nothing was begun: another place may do at once.
        memory_.suspect(cs, now);
        break;
      case Fault::kHolder:
        if (code == Code::kTimeout || code == Code::kUnsupported) {
          if (job.holder != SessionId()) memory_.silent(job.holder, now);
        }
        memory_.failed(chunk, 0, now);
        break;
      case Fault::kServer:
        memory_.failed(chunk, is_fault_of_target(code) ? cs : 0, now);
        break;
      case Fault::kNobody:
        memory_.failed(chunk, 0, now);
        break;
    }
    env_.log.debug("repair of chunk {} failed: {}", chunk.raw(), done.error().to_string());
    if (burst_.has_value()) {
      ++burst_->failures;
      burst_->last_failure =
          fmt::format("chunk {} at CS {}: {}", chunk.raw(), cs, done.error().to_string());
    }
  }
  const Result<pb::Chunk> left = state::queries::chunk(env_.tables, chunk);
  if (left.has_value()) look_at(*left);
  wake_.notify_all();
}

}  // namespace cairn::mds::master
