// set-attr: one inode, or a tree walked level by level.
#include <set>

#include "common/erasure/encoding.h"
#include "mds/service/admin_service.h"
#include "mds/state/machine.h"

namespace cairn::mds::service {

namespace {
constexpr std::size_t kInodesPerCommand = 256;
constexpr std::uint32_t kReadDirPage = 1024;
constexpr std::uint32_t kTierMax = 3;
// One may come with every file of a tree.
constexpr int kWarningsMax = 32;

Status check_policy(const pb::SetPolicyRequest& request) {
  const pb::Policy& policy = request.policy();
  if (policy.has_encoding()) {
    const pb::Encoding& e = policy.encoding();
    TRY(const erasure::Encoding checked, erasure::Encoding::make(e.data(), e.parity(), e.min()));
    CHECK_EQ(unsigned{checked.data}, e.data());
  }
  if (request.set_tier() && policy.tier() > kTierMax) {
    return fail(Code::kInvalidArgument, fmt::format("tier {}: 0 to 3 exist", policy.tier()));
  }
  const int domain = policy.failure_domain();
  if (domain > pb::DOMAIN_HOST) {
    return fail(Code::kUnsupported,
                "failure domains above host are not built yet: use disk or host");
  }
  if (!policy.has_encoding() && !request.set_tier() && domain == pb::DOMAIN_UNSET) {
    return fail(Code::kInvalidArgument, "no attribute was given");
  }
  return {};
}
}  // namespace

Task<Result<pb::SetPolicyReply>> AdminService::set_policy(AdminService* self,
                                                          pb::SetPolicyRequest request) {
  CO_TRY_VOID(check_policy(request));
  CO_TRY(const pb::InodeRecord record, self->resolve(request.target()));
  pb::SetPolicyReply total;
  const std::uint64_t root = record.attributes().inode();
  std::vector<std::uint64_t> one{root};
  const Status changed = co_await self->apply_policy(std::move(one), &request, &total);
  if (!changed.has_value()) co_return fail(changed.error());
  if (request.recursive() && record.attributes().type() == pb::TYPE_DIRECTORY) {
    const Status walked = co_await self->walk_policy(root, &request, &total);
    if (!walked.has_value()) co_return fail(walked.error());
  }
  if (total.converting() != 0) self->tell_queued(request, total.converting());
  const Result<pb::InodeRecord> after = self->resolve(request.target());
  if (after.has_value()) {
    for (std::string& warning : self->policy_warnings(after->policy())) {
      total.add_warnings(std::move(warning));
    }
  }
  co_return total;
}

Task<Status> AdminService::apply_policy(std::vector<std::uint64_t> inodes,
                                        const pb::SetPolicyRequest* request,
                                        pb::SetPolicyReply* total) {
  pb::Command command;
  pb::SetPolicyCommand* set = command.mutable_set_policy();
  for (const std::uint64_t inode : inodes) set->add_inodes(inode);
  *set->mutable_policy() = request->policy();
  set->set_set_tier(request->set_tier());
  set->set_keep_data(request->keep_data());
  const Result<pb::CommandReply> reply =
      co_await master_.environment().commands.run(std::move(command));
  if (!reply.has_value()) co_return fail(reply.error());
  total->set_changed(total->changed() + reply->set_policy().changed());
  total->set_keep_layout(total->keep_layout() + reply->set_policy().keep_layout());
  total->set_converting(total->converting() + reply->set_policy().converting());
  // Rows may have come, or gone.
  if (request->policy().has_encoding()) {
    master_.conversions().queued(reply->set_policy().converting());
  }
  for (const std::string& warning : reply->set_policy().warnings()) {
    if (total->warnings_size() < kWarningsMax) total->add_warnings(warning);
  }
  co_return Status();
}

void AdminService::tell_queued(const pb::SetPolicyRequest& request, std::uint64_t files) const {
  const pb::Encoding& to = request.policy().encoding();
  const Result<erasure::Encoding> made = erasure::Encoding::make(to.data(), to.parity(), to.min());
  const std::string where = request.target().inode() != 0
                                ? fmt::format("inode {}", request.target().inode())
                                : request.target().path();
  master_.events().write(
      "MDS", observe::Severity::kInfo,
      fmt::format("{} {} of {} {} to be converted to {}", files, files == 1 ? "file" : "files",
                  where, files == 1 ? "is" : "are",
                  made.has_value() ? made->to_attribute() : "another encoding"));
}

// A directory has its new policy before its entries are listed: what is born meanwhile inherits it.
Task<Status> AdminService::walk_policy(std::uint64_t root, const pb::SetPolicyRequest* request,
                                       pb::SetPolicyReply* total) {
  std::vector<std::uint64_t> level{root};
  while (!level.empty()) {
    std::vector<std::uint64_t> next_level;
    for (const std::uint64_t directory : level) {
      const Status done = co_await set_children(directory, request, &next_level, total);
      if (!done.has_value()) co_return done;
    }
    level = std::move(next_level);
  }
  co_return Status();
}

Task<Status> AdminService::set_children(std::uint64_t directory,
                                        const pb::SetPolicyRequest* request,
                                        std::vector<std::uint64_t>* next_level,
                                        pb::SetPolicyReply* total) {
  pb::ReadDir page;
  page.set_inode(directory);
  page.set_limit(kReadDirPage);
  for (;;) {
    const Result<pb::ReadDirReply> listed =
        state::queries::read_dir(master_.environment().tables, page);
    if (!listed.has_value()) {
      // Removed while the tree was walked.
      if (listed.error().code() == Code::kNotFound) co_return Status();
      co_return fail(listed.error());
    }
    std::vector<std::uint64_t> batch;
    for (const pb::ReadDirReply::Entry& entry : listed->entries()) {
      const bool is_directory = entry.type() == pb::TYPE_DIRECTORY;
      if (is_directory) next_level->push_back(entry.inode());
      if (is_directory || entry.type() == pb::TYPE_REGULAR) batch.push_back(entry.inode());
      if (batch.size() < kInodesPerCommand) continue;
      std::vector<std::uint64_t> full = std::exchange(batch, {});
      const Status done = co_await apply_policy(std::move(full), request, total);
      if (!done.has_value()) co_return done;
    }
    if (!batch.empty()) {
      const Status done = co_await apply_policy(std::move(batch), request, total);
      if (!done.has_value()) co_return done;
    }
    if (listed->end() || listed->entries_size() == 0) co_return Status();
    page.set_after(listed->entries(listed->entries_size() - 1).name());
    co_await runtime::yield_turn(master_.environment().runtime);
  }
}

std::vector<std::string> AdminService::policy_warnings(const pb::Policy& policy) const {
  const bool by_disk = policy.failure_domain() == pb::DOMAIN_DISK;
  std::set<std::uint64_t> domains;
  for (const auto& [id, entry] : master_.cs_board().all()) {
    domains.insert(by_disk ? id : entry.record.host_id());
  }
  const std::size_t needed = policy.encoding().data() + policy.encoding().parity();
  if (domains.size() >= needed) return {};
  const char* level = by_disk ? "disk" : "host";
  if (domains.size() < policy.encoding().min()) {
    return {
        fmt::format("new chunks need at least {} failure domains of level {}, the cluster has {}: "
                    "writes will wait",
                    policy.encoding().min(), level, domains.size())};
  }
  return {
      fmt::format("whole chunks need {} failure domains of level {}, the cluster has {}: new "
                  "chunks will be born degraded",
                  needed, level, domains.size())};
}

}  // namespace cairn::mds::service
