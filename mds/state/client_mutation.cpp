#include "mds/state/client_mutation.h"

#include <algorithm>

#include "mds/state/ops/ops.h"

namespace cairn::mds::state {
namespace {

using pb::ClientRequest;

// Up to here erasing every key of the gap costs less than a scan for those that are there.
constexpr std::uint64_t kErasedBlindlyMax = 64;

bool is_mutation(ClientRequest::OpCase op) {
  switch (op) {
    case ClientRequest::kReleaseLease:
    case ClientRequest::kSetAttr:
    case ClientRequest::kMakeNode:
    case ClientRequest::kLink:
    case ClientRequest::kUnlink:
    case ClientRequest::kRename:
    case ClientRequest::kSetXattr:
    case ClientRequest::kRemoveXattr:
    case ClientRequest::kOpenChunk:
    case ClientRequest::kDropPieces:
    case ClientRequest::kCommitFile:
    case ClientRequest::kCloseChunk:
    case ClientRequest::kMakeShadow:
    case ClientRequest::kSwapData:
      return true;
    default:
      return false;
  }
}

Status check_seq(const ClientRequest& request, const pb::SessionRecord& session) {
  if (!is_mutation(request.op_case())) {
    return fail(Code::kProtocol, "the request is not a mutation");
  }
  if (request.seq() >= kMasterSeqs) return {};
  if (request.seq() == 0 || request.seq() < session.answered_below()) {
    return fail(Code::kProtocol,
                "seq " + std::to_string(request.seq()) + " was answered and forgotten");
  }
  if (request.answered_below() > request.seq()) {
    return fail(Code::kProtocol, "answered_below is past the seq of its own request");
  }
  const std::uint64_t answered = std::max(request.answered_below(), session.answered_below());
  if (request.seq() - answered >= kReplyWindow) {
    return fail(Code::kOverloaded, "too many mutations of the session are unanswered");
  }
  return {};
}

Status execute(Tables& tables, ops::Caller caller, const pb::ClientMutation& mutation,
               pb::ClientReply& reply) {
  const ClientRequest& request = mutation.request();
  switch (request.op_case()) {
    case ClientRequest::kReleaseLease:
      return ops::release_lease(tables, caller, request.release_lease(), reply);
    case ClientRequest::kSetAttr:
      return ops::set_attr(tables, caller, request.set_attr(), reply);
    case ClientRequest::kMakeNode:
      return ops::make_node(tables, caller, request.make_node(), reply);
    case ClientRequest::kLink:
      return ops::link(tables, caller, request.link(), reply);
    case ClientRequest::kUnlink:
      return ops::unlink(tables, caller, request.unlink(), reply);
    case ClientRequest::kRename:
      return ops::rename(tables, caller, request.rename(), reply);
    case ClientRequest::kSetXattr:
      return ops::set_xattr(tables, caller, request.set_xattr(), reply);
    case ClientRequest::kRemoveXattr:
      return ops::remove_xattr(tables, caller, request.remove_xattr(), reply);
    case ClientRequest::kOpenChunk:
      return ops::open_chunk(tables, caller, mutation, reply);
    case ClientRequest::kDropPieces:
      return ops::drop_pieces(tables, caller, request.drop_pieces(), reply);
    case ClientRequest::kCommitFile:
      return ops::commit_file(tables, caller, request.commit_file(), reply);
    case ClientRequest::kCloseChunk:
      return ops::close_chunk(tables, caller, request.close_chunk(), reply);
    case ClientRequest::kMakeShadow:
      return ops::make_shadow(tables, caller, request.make_shadow(), reply);
    case ClientRequest::kSwapData:
      return ops::swap_data(tables, caller, request.swap_data(), reply);
    default:
      return fail(Code::kProtocol, "the request is not a mutation");
  }
}

// Forgets the replies that the client says it has.
Status trim_replies(Tables& tables, pb::SessionRecord& session, std::uint64_t answered_below) {
  const std::uint64_t before = session.answered_below();
  if (answered_below <= before) return {};
  const SessionId id = SessionId::from_raw(session.id());
  if (answered_below - before <= kErasedBlindlyMax) {
    for (std::uint64_t seq = before; seq < answered_below; ++seq) {
      tables.erase(keys::reply({id, RequestSeq(seq)}));
    }
  } else {
    const Tables::Range range{.prefix = keys::of_session(keys::Table::kReply, id),
                              .from = keys::reply({id, RequestSeq(before)}),
                              .end = keys::reply({id, RequestSeq(answered_below)})};
    TRY(const Tables::Rows rows, tables.scan(range));
    for (const auto& [key, value] : rows) tables.erase(key);
  }
  session.set_answered_below(answered_below);
  tables.put(keys::session(id), session);
  return {};
}

// A refusal becomes the answer and leaves no change behind.
// Errors:   a broken store.
Status answer_of(Tables& tables, const pb::SessionRecord& session,
                 const pb::ClientMutation& mutation, std::int64_t time_ns,
                 pb::ClientReply& answer) {
  Status done;
  const bool releases = mutation.request().op_case() == ClientRequest::kReleaseLease;
  if (session.request().read_only() && !releases) {
    done = fail(Code::kReadOnly, "the session is read-only");
  } else {
    const ops::Caller caller{SessionId::from_raw(session.id()), time_ns};
    done = execute(tables, caller, mutation, answer);
  }
  if (tables.failure()) return fail(*tables.failure());
  if (done) return {};
  tables.discard();
  answer.Clear();
  answer.mutable_error()->set_code(static_cast<std::uint32_t>(done.error().code()));
  answer.mutable_error()->set_message(done.error().message());
  return {};
}

}  // namespace

Status client_mutation(Tables& tables, const pb::ClientMutation& mutation, std::int64_t time_ns,
                       pb::CommandReply& reply) {
  const ClientRequest& request = mutation.request();
  const SessionId id = SessionId::from_raw(request.session());
  TRY(std::optional<pb::SessionRecord> session, tables.find<pb::SessionRecord>(keys::session(id)));
  if (!session) {
    return fail(Code::kSessionGone, "session " + std::to_string(id.raw()) + " has ended");
  }
  TRY_VOID(check_seq(request, *session));
  pb::ClientReply& answer = *reply.mutable_client();
  if (request.seq() >= kMasterSeqs) {
    return answer_of(tables, *session, mutation, time_ns, answer);
  }
  const std::string key = keys::reply({id, RequestSeq(request.seq())});
  TRY(std::optional<pb::ClientReply> stored, tables.find<pb::ClientReply>(key));
  if (stored) {
    answer = std::move(*stored);
    return {};
  }
  TRY_VOID(answer_of(tables, *session, mutation, time_ns, answer));
  TRY_VOID(trim_replies(tables, *session, request.answered_below()));
  tables.put(key, answer);
  return {};
}

}  // namespace cairn::mds::state
