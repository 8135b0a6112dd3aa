// MembersService: the admin tool's changes and checks of the MDS group: AddMds, RemoveMds, CheckMds
// (service cairn.pb.Admin, proto/admin.proto). Answered by the master only.
//
// Errors:   kRefusedForSafety (no majority would be left), kNotFound, kExists, kInvalidArgument,
//           kNotMaster (also after a master that shall be removed handed over: ask the next).
#pragma once

#include "common/rpc/rpc.h"
#include "mds/master/master.h"
#include "mds/service/members.h"
#include "proto/admin.pb.h"

namespace cairn::mds::service {

class MembersService {
 public:
  MembersService(master::Master& master, replication::Group& group, Members& members,
                 replication::MakeCaller make_caller)
      : master_(master), group_(group), members_(members), make_caller_(std::move(make_caller)) {}
  void add_to(rpc::Dispatcher& dispatcher);

  static Task<Result<pb::AddMdsReply>> add_mds(MembersService* self, pb::AddMdsRequest request);
  static Task<Result<pb::RemoveMdsReply>> remove_mds(MembersService* self,
                                                     pb::RemoveMdsRequest request);
  static Task<Result<pb::CheckMdsReply>> check_mds(MembersService* self,
                                                   pb::CheckMdsRequest request);

 private:
  Status check_cluster(const std::string& name) const;
  Status may_remove(NodeId id) const;
  // The digest of one member, as soon as it has it.
  static Task<void> ask_digest(MembersService* self, paxos::Member member, std::uint64_t mark,
                               pb::CheckMdsReply::One* one, Deadline deadline);
  Task<Result<pb::DigestReply>> digest_of(paxos::Member member, std::uint64_t mark,
                                          Deadline deadline);

  master::Master& master_;
  replication::Group& group_;
  Members& members_;
  const replication::MakeCaller make_caller_;
};

}  // namespace cairn::mds::service
