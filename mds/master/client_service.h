// ClientService: answers the requests of clients (op CLIENT_REQUEST of a session's channel).
// docs/protocols/namespace.md. Reads are answered from the tables, mutations go through the log.
//
// Requires: the loop thread; requests under way end before it dies (the channels are joined first).
// Errors:   those of mutations are part of the ClientReply; others, and failures of the log itself,
//           are the error of the channel's reply.
#pragma once

#include <memory>

#include "mds/master/chunk_holds.h"
#include "mds/master/conversions.h"
#include "mds/master/cs_board.h"
#include "mds/master/environment.h"
#include "mds/master/lease_board.h"
#include "mds/master/purger.h"
#include "mds/master/recovery.h"
#include "mds/master/repairs.h"
#include "mds/master/session_board.h"
#include "mds/master/session_ender.h"

namespace cairn::mds::master {

class ClientService {
 public:
  // What it works with; all outlive it.
  struct Parts {
    SessionBoard& sessions;
    Pins& pins;
    LeaseBoard& leases;
    CsBoard& cs_board;
    Recovery& recovery;
    ChunkHolds& holds;
    Repairs& repairs;
    Conversions& conversions;
    SessionEnder& ender;
    Purger& purger;
    // Every session of the table has said what it held.
    std::function<void()> on_reclaimed;
  };
  ClientService(Environment env, Parts parts) : env_(env), parts_(parts) {}

  Task<Result<net::Payload>> serve(std::shared_ptr<Connection> connection, std::uint16_t op,
                                   net::Payload request);

 private:
  using Reply = Result<pb::ClientReply>;
  Task<Reply> dispatch(std::shared_ptr<Connection> connection, pb::ClientRequest request);
  // client_sessions.cpp
  Task<Reply> open_session(std::shared_ptr<Connection> connection, pb::OpenSession request);
  void end_abandoned(const pb::OpenSession& request);
  Reply resume_session(const std::shared_ptr<Connection>& connection,
                       const pb::OpenSession& request);
  Task<Reply> close_session(SessionId session);
  Reply reclaim(SessionId session, const pb::Reclaim& request);
  Reply list_host_sessions(const pb::ListHostSessions& request) const;
  Reply next_conversion(SessionId session, const pb::NextConversion& request);
  Reply end_dead_session(const pb::EndDeadSession& request);
  // client_reads.cpp
  Task<Reply> read(SessionId session, pb::ClientRequest request);
  Task<Reply> lookup(SessionId session, pb::Lookup request);
  Task<Reply> get_attr(SessionId session, InodeId inode);
  Reply read_dir(SessionId session, const pb::ReadDir& request);
  Reply get_chunks(const pb::GetChunks& request);
  Reply stat_fs();
  // True when somebody else may have delayed size and times of the inode.
  bool held_by_other(SessionId session, InodeId inode) const;
  // client_leases.cpp
  Task<Reply> acquire_lease(SessionId session, pb::AcquireLease request);
  Reply acquired(SessionId session, const pb::AcquireLease& request);
  Task<Status> make_whole(SessionId session, pb::InodeRecord record);
  static Task<void> settle_release(ClientService* self, SessionId session,
                                   pb::ReleaseLease release);
  Task<Reply> release_exclusive(SessionId session, pb::ClientRequest request);
  Reply release_shared(SessionId session, const pb::ReleaseLease& request);
  Reply unpin(SessionId session, const pb::Unpin& request);
  // client_mutations.cpp
  Task<Reply> mutate(SessionId session, pb::ClientRequest request);
  Task<Reply> propose(pb::ClientMutation mutation);
  Task<Status> wait_for_hold(SessionId session, ChunkHolds::Place place);
  Task<Status> place(const pb::OpenChunk* request, pb::ClientMutation* mutation);
  void after_mutation(SessionId session, const pb::ClientRequest& request,
                      const pb::ClientReply& reply);

  Environment env_;
  Parts parts_;
};

}  // namespace cairn::mds::master
