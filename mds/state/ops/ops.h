// Operations: what each command does to the tables. One function a command, one file a concept.
//
// An operation checks everything first and answers an error when the command is refused; the
// machine then discards what it changed. Errors of the store pass through (Tables keeps them
// apart). Rules: docs/protocols/namespace.md, data-path.md and conversion.md there.
#pragma once

#include <cstdint>

#include "common/base/ids.h"
#include "mds/state/tables.h"

namespace cairn::mds::state::ops {

// What every mutation of a client brings along.
struct Caller {
  SessionId session;
  std::int64_t time_ns = 0;
};

// Namespace.
Status make_node(Tables& tables, Caller caller, const pb::MakeNode& op, pb::ClientReply& reply);
Status link(Tables& tables, Caller caller, const pb::Link& op, pb::ClientReply& reply);
// Answers the attributes of what lost the name (nlink 0: it is gone, or an orphan).
Status unlink(Tables& tables, Caller caller, const pb::Unlink& op, pb::ClientReply& reply);
// Answers the attributes of what was moved.
Status rename(Tables& tables, Caller caller, const pb::Rename& op, pb::ClientReply& reply);
Status set_attr(Tables& tables, Caller caller, const pb::SetAttr& op, pb::ClientReply& reply);
Status set_xattr(Tables& tables, Caller caller, const pb::SetXattr& op, pb::ClientReply& reply);
Status remove_xattr(Tables& tables, Caller caller, const pb::RemoveXattr& op,
                    pb::ClientReply& reply);

// Data, under the exclusive lease.
using Placements = google::protobuf::RepeatedPtrField<pb::Placement>;
Status open_chunk(Tables& tables, Caller caller, const pb::ClientMutation& mutation,
                  pb::ClientReply& reply);
Status drop_pieces(Tables& tables, Caller caller, const pb::DropPieces& op, pb::ClientReply& reply);
Status close_chunk(Tables& tables, Caller caller, const pb::CloseChunk& op, pb::ClientReply& reply);
Status commit_file(Tables& tables, Caller caller, const pb::CommitFile& op, pb::ClientReply& reply);
Status release_lease(Tables& tables, Caller caller, const pb::ReleaseLease& op,
                     pb::ClientReply& reply);

// Conversion (docs/protocols/conversion.md).
Status make_shadow(Tables& tables, Caller caller, const pb::MakeShadow& op, pb::ClientReply& reply);
Status swap_data(Tables& tables, Caller caller, const pb::SwapData& op, pb::ClientReply& reply);

// Commands of the master.
Status grant_lease(Tables& tables, const pb::GrantLease& op, pb::CommandReply& reply);
Status begin_recovery(Tables& tables, const pb::BeginRecovery& op, pb::CommandReply& reply);
Status finish_recovery(Tables& tables, const pb::FinishRecovery& op, pb::CommandReply& reply);
Status place_piece(Tables& tables, const pb::PlacePiece& op, pb::CommandReply& reply);
Status finish_repair(Tables& tables, const pb::FinishRepair& op, pb::CommandReply& reply);
Status open_session(Tables& tables, const pb::OpenSessionCommand& op, pb::CommandReply& reply);
Status end_session(Tables& tables, const pb::EndSession& op);
Status init_cluster(Tables& tables, const pb::InitCluster& op, std::int64_t time_ns);
Status add_cs(Tables& tables, const pb::AddCs& op, pb::CommandReply& reply);
Status update_cs(Tables& tables, const pb::UpdateCs& op);
Status set_policy(Tables& tables, const pb::SetPolicyCommand& op, std::int64_t time_ns,
                  pb::CommandReply& reply);
Status purge_inode(Tables& tables, const pb::PurgeInode& op, pb::CommandReply& reply);
Status pieces_removed(Tables& tables, const pb::PiecesRemoved& op);
Status set_config(Tables& tables, const pb::SetConfigCommand& op);
Status add_event(Tables& tables, const pb::AddEvent& op, std::int64_t time_ns);

}  // namespace cairn::mds::state::ops
