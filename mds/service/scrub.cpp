// scrub now, scrub status: jobs of the master (mds/master/scrubs.h).
#include "mds/service/admin_service.h"

namespace cairn::mds::service {

namespace {
std::string name_of(const pb::Target& target) {
  if (target.inode() != 0) return fmt::format("inode {}", target.inode());
  return target.path().empty() ? std::string("/") : target.path();
}
}  // namespace

Task<Result<pb::ScrubReply>> AdminService::scrub(AdminService* self, pb::ScrubRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  CO_TRY(const pb::InodeRecord record, self->resolve(request.target()));
  std::string target = name_of(request.target());
  CO_TRY(const std::uint64_t job, self->master_.scrubs().start(record, std::move(target)));
  co_return self->scrub_reply(job);
}

Task<Result<pb::ScrubReply>> AdminService::scrub_status(AdminService* self,
                                                        pb::ScrubStatusRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  co_return self->scrub_reply(request.job());
}

Result<pb::ScrubReply> AdminService::scrub_reply(std::uint64_t job) const {
  const master::ScrubBoard& board = master_.scrubs().board();
  const std::optional<master::ScrubBoard::Progress> found = board.progress(job);
  if (!found.has_value()) {
    return fail(Code::kNotFound,
                job == 0 ? "no scrub was asked for since this MDS became the master"
                         : fmt::format("scrub {} is not known: it ended long ago, or the master "
                                       "changed, which ends all of them",
                                       job));
  }
  pb::ScrubReply reply;
  reply.set_job(found->job);
  reply.set_pieces(found->pieces);
  reply.set_verified(found->verified);
  reply.set_unreachable(found->unreachable);
  reply.set_blocks(found->blocks);
  reply.set_damaged(found->damaged);
  reply.set_done(found->done());
  reply.set_walking(found->walking);
  reply.set_failure(found->failure);
  reply.set_findings_total(found->findings_total);
  reply.set_target(found->target);
  for (const std::string& finding : found->findings) reply.add_findings(finding);
  for (const std::uint64_t id : board.jobs()) reply.add_jobs(id);
  return reply;
}

}  // namespace cairn::mds::service
