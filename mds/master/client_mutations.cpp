// Mutations: through the log, with what the master chose for them.
#include "common/base/limits.h"
#include "mds/master/client_service.h"
#include "mds/placement/planner.h"
#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {

// A piece is expected to take this at least; chunks of small files never fill their pieces.
constexpr ByteCount kPieceRoom = 4_MiB;
constexpr Duration kPatience = 3s;
constexpr Duration kPatienceStep = 50ms;

placement::Domain domain_of(pb::DomainLevel level) {
  return level == pb::DOMAIN_DISK ? placement::Domain::kDisk : placement::Domain::kHost;
}

}  // namespace

Task<ClientService::Reply> ClientService::propose(pb::ClientMutation mutation) {
  pb::Command command;
  *command.mutable_client() = std::move(mutation);
  Result<pb::CommandReply> done = co_await env_.commands.run(std::move(command));
  if (!done.has_value()) co_return fail(std::move(done).error());
  co_return std::move(*done->mutable_client());
}

Task<ClientService::Reply> ClientService::mutate(SessionId session, pb::ClientRequest request) {
  if (request.seq() == 0) co_return fail(Code::kProtocol, "a mutation needs a sequence number");
  if (request.seq() >= request.answered_below() + limits::kSessionRequestsInFlightMax * 2) {
    co_return fail(Code::kOverloaded, "too many mutations of this session are unanswered");
  }
  pb::ClientMutation mutation;
  if (request.has_open_chunk() || request.has_set_attr() || request.has_swap_data()) {
    // A repeat after a failover: what is waited for or missing now must not become its answer.
    CO_TRY(std::optional<pb::ClientReply> stored,
           state::queries::stored_reply(env_.tables, session, RequestSeq(request.seq())));
    if (stored.has_value() && stored->has_open_chunk()) {
      parts_.cs_board.fill_addresses(stored->mutable_open_chunk()->mutable_chunk());
    }
    if (stored.has_value()) co_return std::move(*stored);
  }
  if (request.has_open_chunk()) {
    const Status placed = co_await place(&request.open_chunk(), &mutation);
    if (!placed.has_value()) {
      pb::ClientReply refused;
      fill_error(placed.error(), refused.mutable_error());
      co_return refused;
    }
  }
  if (request.has_set_attr()) {
    // The holder's delayed size and times come first, or they would overwrite what is set now.
    const InodeId inode = InodeId::from_raw(request.set_attr().inode());
    if (held_by_other(session, inode)) {
      const Status settled = co_await parts_.leases.acquire(inode, session, Want::kLook);
      if (!settled.has_value()) co_return fail(settled.error());
    }
  }
  if (request.has_open_chunk()) {
    // Last, so that nothing comes between it and the log.
    const pb::OpenChunk& open = request.open_chunk();
    const ChunkHolds::Place at{.inode = InodeId::from_raw(open.inode()), .index = open.index()};
    const Status free = co_await wait_for_hold(session, at);
    if (!free.has_value()) co_return fail(free.error());
  }
  const InodeId converted = InodeId::from_raw(request.swap_data().inode());
  if (request.has_swap_data()) {
    const Status may = parts_.conversions.begin_swap(session, converted);
    if (!may.has_value()) {
      pb::ClientReply refused;
      fill_error(may.error(), refused.mutable_error());
      co_return refused;
    }
  }
  *mutation.mutable_request() = request;
  Reply reply = co_await propose(std::move(mutation));
  if (request.has_swap_data()) {
    const bool done = reply.has_value() && reply->error().code() == 0;
    parts_.conversions.end_swap(session, converted, done ? &reply->attributes() : nullptr);
  }
  if (!reply.has_value()) co_return reply;
  if (reply->has_open_chunk()) {
    parts_.cs_board.fill_addresses(reply->mutable_open_chunk()->mutable_chunk());
  }
  if (reply->error().code() == 0) after_mutation(session, request, *reply);
  co_return reply;
}

Task<Status> ClientService::wait_for_hold(SessionId session, ChunkHolds::Place place) {
  if (!parts_.holds.held(place)) co_return Status();
  const Deadline deadline = env_.runtime.after(ChunkHolds::kHoldTime);
  while (parts_.holds.held(place)) {
    CO_TRY_VOID(co_await parts_.holds.pass(place, deadline));
  }
  const Session* alive = parts_.sessions.find(session);
  if (alive == nullptr || alive->ending) {
    co_return fail(Code::kSessionGone, "the session has ended");
  }
  co_return Status();
}

// Chooses places when the chunk does not exist yet. kNoSpace when there are fewer than the minimum.
// Right after a start of the master most chunk servers are only about to be heard: it waits for
// them a little, so that chunks are not born degraded for nothing.
Task<Status> ClientService::place(const pb::OpenChunk* request, pb::ClientMutation* mutation) {
  const InodeId inode = InodeId::from_raw(request->inode());
  const Result<pb::InodeRecord> record = state::queries::inode(env_.tables, inode);
  if (!record.has_value()) co_return Status();  // the state machine refuses it with the right words
  CO_TRY(const pb::GetChunksReply present,
         state::queries::chunks(env_.tables, inode, request->index(), 1));
  if (present.chunks_size() != 0 && present.chunks(0).index() == request->index()) {
    co_return Status();
  }
  const pb::Encoding& encoding =
      record->has_layout() ? record->layout().encoding() : record->policy().encoding();
  const placement::Request wanted{.pieces = encoding.data() + encoding.parity(),
                                  .min = std::max(encoding.min(), encoding.data()),
                                  .tier = record->policy().tier(),
                                  .domain = domain_of(record->policy().failure_domain()),
                                  .piece_bytes = kPieceRoom,
                                  .seed = env_.runtime.random()};
  placement::Plan plan = placement::plan(parts_.cs_board.candidates(env_.runtime.now()), wanted);
  while (plan.places.size() < wanted.pieces && !env_.stopping &&
         parts_.cs_board.awaits_any(env_.runtime.now(), kPatience)) {
    co_await runtime::sleep_for(env_.runtime, kPatienceStep);
    plan = placement::plan(parts_.cs_board.candidates(env_.runtime.now()), wanted);
  }
  if (!plan.enough(wanted)) {
    co_return fail(Code::kNoSpace, "no place for a new chunk: " + plan.explain(wanted));
  }
  for (std::size_t i = 0; i < plan.places.size(); ++i) {
    pb::Placement* place = mutation->add_placement();
    place->set_piece(static_cast<std::uint32_t>(i));
    place->set_cs_id(plan.places[i].raw());
  }
  if (env_.settings.cell_bytes != 0 && env_.settings.piece_bytes != 0) {
    mutation->mutable_shape()->set_cell_bytes(env_.settings.cell_bytes);
    mutation->mutable_shape()->set_piece_bytes(env_.settings.piece_bytes);
  }
  co_return Status();
}

void ClientService::after_mutation(SessionId session, const pb::ClientRequest& request,
                                   const pb::ClientReply& reply) {
  const Session* alive = parts_.sessions.find(session);
  if (request.has_make_node() && alive != nullptr && !alive->ending) {
    const InodeId inode = InodeId::from_raw(reply.make_node().attributes().inode());
    if (request.make_node().pin() != 0) parts_.pins.add(inode, session);
  }
  if (request.has_make_shadow() && alive != nullptr && !alive->ending) {
    parts_.pins.add(InodeId::from_raw(reply.make_node().attributes().inode()), session);
  }
  if (request.has_unlink() || request.has_rename()) parts_.purger.want();
  if (request.has_close_chunk()) {
    parts_.holds.poke(InodeId::from_raw(request.close_chunk().inode()));
  }
  // Pieces that were dropped, or had no place when the chunk was made.
  if (reply.has_open_chunk()) parts_.repairs.look_at(reply.open_chunk().chunk());
}

}  // namespace cairn::mds::master
