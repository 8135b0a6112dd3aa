#include "mds/master/client_service.h"

#include "mds/state/machine.h"
#include "proto/data_plane.pb.h"

namespace cairn::mds::master {

Task<Result<net::Payload>> ClientService::serve(std::shared_ptr<Connection> connection,
                                                std::uint16_t op, net::Payload request) {
  if (op != pb::OP_CLIENT_REQUEST) co_return fail(Code::kUnsupported, "not an op of a session");
  pb::ClientRequest decoded;
  if (!decoded.ParseFromString(request.meta)) {
    co_return fail(Code::kProtocol, "undecodable client request");
  }
  Reply reply = co_await dispatch(std::move(connection), std::move(decoded));
  // After everything was read: nobody else was the master by then. A keep-alive and a shared lease
  // count for
  // a minute at the client, so they pass here too.
  const Status confirmed = co_await env_.commands.confirm();
  if (!confirmed.has_value()) co_return fail(confirmed.error());
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  net::Payload answer;
  answer.meta = reply->SerializeAsString();
  co_return answer;
}

// Requests that need no session first; every other one renews the session it names. Nothing
// suspends before the request is in its queue (a lease line, the log), so requests of one channel
// keep their order.
Task<ClientService::Reply> ClientService::dispatch(std::shared_ptr<Connection> connection,
                                                   pb::ClientRequest request) {
  using Op = pb::ClientRequest;
  if (env_.stopping) co_return fail(Code::kUnavailable, "the MDS is stopping");
  Reply reply = fail(Code::kUnsupported, "unknown request");
  const Op::OpCase op = request.op_case();
  if (op == Op::kOpenSession) {
    reply = co_await open_session(connection, std::move(*request.mutable_open_session()));
    co_return reply;
  }
  if (op == Op::kListHostSessions) co_return list_host_sessions(request.list_host_sessions());
  if (op == Op::kEndDeadSession) co_return end_dead_session(request.end_dead_session());

  const SessionId id = SessionId::from_raw(request.session());
  Session* session = parts_.sessions.find(id);
  if (session == nullptr || session->ending) {
    co_return fail(Code::kSessionGone, "the session has ended");
  }
  if (connection->session != id) {
    co_return fail(Code::kProtocol, "the session was not opened or resumed on this channel");
  }
  // What a network delivers late of an older channel was sent again on the newer one, or given up.
  if (session->connection.lock() != connection) {
    co_return fail(Code::kConnectionLost, "the session goes on on a newer channel");
  }
  session->last_heard = env_.runtime.now();
  switch (op) {
    case Op::kCloseSession:
      reply = co_await close_session(id);
      break;
    case Op::kKeepAlive:
      parts_.sessions.keep_alive(*session, request.keep_alive(), env_.runtime.now());
      reply = pb::ClientReply();
      break;
    case Op::kReclaim:
      reply = reclaim(id, request.reclaim());
      break;
    case Op::kAcquireLease:
      reply = co_await acquire_lease(id, std::move(*request.mutable_acquire_lease()));
      break;
    case Op::kNextConversion:
      reply = next_conversion(id, request.next_conversion());
      break;
    case Op::kUnpin:
      reply = unpin(id, request.unpin());
      break;
    case Op::kReleaseLease:
      if (request.seq() == 0) {
        reply = release_shared(id, request.release_lease());
      } else {
        reply = co_await release_exclusive(id, std::move(request));
      }
      break;
    case Op::kSetAttr:
    case Op::kMakeNode:
    case Op::kLink:
    case Op::kUnlink:
    case Op::kRename:
    case Op::kSetXattr:
    case Op::kRemoveXattr:
    case Op::kOpenChunk:
    case Op::kDropPieces:
    case Op::kCloseChunk:
    case Op::kCommitFile:
    case Op::kMakeShadow:
    case Op::kSwapData:
      reply = co_await mutate(id, std::move(request));
      break;
    default:
      reply = co_await read(id, std::move(request));
      break;
  }
  co_return reply;
}

}  // namespace cairn::mds::master
