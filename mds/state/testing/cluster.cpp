#include "mds/state/testing/cluster.h"

#include "mds/state/invariants.h"

namespace cairn::mds::state::testing {

Cluster Cluster::made() {
  Cluster cluster;
  pb::Command init;
  init.mutable_init_cluster()->set_cluster_id(77);
  init.mutable_init_cluster()->set_name("test");
  EXPECT_EQ(error(cluster.apply(init)), 0u);
  return cluster;
}

pb::CommandReply Cluster::apply(pb::Command command) {
  if (command.time_ns() == 0) command.set_time_ns(++time_ns_);
  log_.push_back(command);
  Result<Applied> applied = Machine::apply(Slot(++slot_), command, kv_);
  if (!applied.has_value()) {
    ADD_FAILURE() << applied.error().to_string();
    return {};
  }
  EXPECT_TRUE(kv_.write(applied->changes).has_value());
  return std::move(applied->reply);
}

std::uint64_t Cluster::open_session(const std::string& process) {
  pb::Command command;
  pb::OpenSession& request = *command.mutable_open_session()->mutable_request();
  request.set_host("host");
  request.set_host_id(5);
  request.set_process(process);
  const pb::CommandReply reply = apply(command);
  EXPECT_EQ(error(reply), 0u);
  next_seq_[reply.open_session().session()] = 1;
  return reply.open_session().session();
}

std::uint32_t Cluster::add_cs(std::uint64_t repo_uuid) {
  pb::Command command;
  command.mutable_add_cs()->mutable_request()->set_repo_uuid(repo_uuid);
  command.mutable_add_cs()->mutable_request()->set_host("host");
  return apply(command).add_cs().cs_id();
}

pb::ClientReply Cluster::mutate(std::uint64_t session, pb::ClientRequest request,
                                const std::vector<std::uint32_t>& places) {
  request.set_session(session);
  request.set_seq(next_seq_[session]++);
  request.set_answered_below(request.seq());
  const pb::CommandReply reply = mutate_as(std::move(request), places);
  EXPECT_EQ(error(reply), 0u) << reply.error().message();
  return reply.client();
}

pb::CommandReply Cluster::mutate_as(pb::ClientRequest request,
                                    const std::vector<std::uint32_t>& places) {
  pb::Command command;
  *command.mutable_client()->mutable_request() = std::move(request);
  for (std::uint32_t i = 0; i < places.size(); ++i) {
    if (places[i] == 0) continue;
    pb::Placement& placement = *command.mutable_client()->add_placement();
    placement.set_piece(i);
    placement.set_cs_id(places[i]);
  }
  return apply(command);
}

pb::ClientReply Cluster::make(std::uint64_t session, std::uint64_t parent, std::string_view name,
                              pb::FileType type, bool lease) {
  pb::ClientRequest request;
  pb::MakeNode& op = *request.mutable_make_node();
  op.set_parent(parent);
  op.set_name(std::string(name));
  op.set_type(type);
  op.set_mode(0644);
  op.mutable_owner()->set_uid(10);
  op.mutable_owner()->set_gid(20);
  op.set_exclusive_lease(lease);
  if (type == pb::TYPE_SYMLINK) op.set_target("to/there");
  return mutate(session, request);
}

std::uint64_t Cluster::file(std::uint64_t session, std::uint64_t parent, std::string_view name) {
  const pb::ClientReply reply = make(session, parent, name);
  EXPECT_EQ(reply.error().code(), 0u) << reply.error().message();
  return reply.make_node().attributes().inode();
}

std::uint64_t Cluster::directory(std::uint64_t session, std::uint64_t parent,
                                 std::string_view name) {
  const pb::ClientReply reply = make(session, parent, name, pb::TYPE_DIRECTORY);
  EXPECT_EQ(reply.error().code(), 0u) << reply.error().message();
  return reply.make_node().attributes().inode();
}

pb::ClientReply Cluster::link(std::uint64_t session, std::uint64_t inode, std::uint64_t parent,
                              std::string_view name) {
  pb::ClientRequest request;
  request.mutable_link()->set_inode(inode);
  request.mutable_link()->set_new_parent(parent);
  request.mutable_link()->set_new_name(std::string(name));
  return mutate(session, request);
}

pb::ClientReply Cluster::unlink(std::uint64_t session, std::uint64_t parent, std::string_view name,
                                bool directory) {
  pb::ClientRequest request;
  request.mutable_unlink()->set_parent(parent);
  request.mutable_unlink()->set_name(std::string(name));
  request.mutable_unlink()->set_directory(directory);
  return mutate(session, request);
}

pb::ClientReply Cluster::rename(std::uint64_t session, Names names, std::uint32_t flags) {
  pb::ClientRequest request;
  pb::Rename& op = *request.mutable_rename();
  op.set_old_parent(names.old_parent);
  op.set_old_name(std::string(names.old_name));
  op.set_new_parent(names.new_parent);
  op.set_new_name(std::string(names.new_name));
  op.set_flags(flags);
  return mutate(session, request);
}

pb::ClientReply Cluster::set_attr(std::uint64_t session, pb::SetAttr change) {
  pb::ClientRequest request;
  *request.mutable_set_attr() = std::move(change);
  return mutate(session, request);
}

pb::ClientReply Cluster::truncate(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                                  std::uint64_t size) {
  pb::SetAttr change;
  change.set_inode(inode);
  change.set_epoch(epoch);
  change.set_size(size);
  return set_attr(session, change);
}

pb::ClientReply Cluster::open_chunk(std::uint64_t session, pb::OpenChunk open,
                                    const std::vector<std::uint32_t>& places) {
  pb::ClientRequest request;
  *request.mutable_open_chunk() = std::move(open);
  return mutate(session, request, places);
}

pb::ClientReply Cluster::commit(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                                std::uint64_t size, bool trimmed, std::uint64_t written) {
  pb::ClientRequest request;
  pb::CommitFile& op = *request.mutable_commit_file();
  op.set_inode(inode);
  op.set_epoch(epoch);
  op.mutable_update()->set_size(size);
  op.mutable_update()->set_trimmed(trimmed);
  op.mutable_update()->set_written_bytes(written);
  return mutate(session, request);
}

pb::ClientReply Cluster::release(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                                 bool unsettled, std::uint64_t size) {
  pb::ClientRequest request;
  pb::ReleaseLease& op = *request.mutable_release_lease();
  op.set_inode(inode);
  op.set_epoch(epoch);
  op.set_unsettled(unsettled);
  op.mutable_update()->set_size(size);
  return mutate(session, request);
}

pb::CommandReply Cluster::grant(std::uint64_t session, std::uint64_t inode) {
  pb::Command command;
  command.mutable_grant_lease()->set_session(session);
  command.mutable_grant_lease()->set_inode(inode);
  return apply(command);
}

pb::CommandReply Cluster::end_session(std::uint64_t session) {
  pb::Command command;
  command.mutable_end_session()->set_session(session);
  return apply(command);
}

pb::CommandReply Cluster::set_policy(std::uint64_t inode, std::uint32_t data, std::uint32_t parity,
                                     std::uint32_t min) {
  pb::Command command;
  command.mutable_set_policy()->add_inodes(inode);
  pb::Encoding& encoding = *command.mutable_set_policy()->mutable_policy()->mutable_encoding();
  encoding.set_data(data);
  encoding.set_parity(parity);
  encoding.set_min(min);
  return apply(command);
}

pb::ClientReply Cluster::make_shadow(std::uint64_t session, std::uint64_t inode) {
  pb::ClientRequest request;
  request.mutable_make_shadow()->set_inode(inode);
  return mutate(session, request);
}

pb::ClientReply Cluster::swap_data(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                                   std::uint64_t shadow) {
  pb::ClientRequest request;
  request.mutable_swap_data()->set_inode(inode);
  request.mutable_swap_data()->set_epoch(epoch);
  request.mutable_swap_data()->set_shadow(shadow);
  return mutate(session, request);
}

pb::CommandReply Cluster::begin_recovery(std::uint64_t chunk) {
  pb::Command command;
  command.mutable_begin_recovery()->set_chunk(chunk);
  return apply(command);
}

pb::CommandReply Cluster::finish_recovery(std::uint64_t chunk, std::uint64_t version,
                                          std::uint32_t unreachable) {
  pb::Command command;
  command.mutable_finish_recovery()->set_chunk(chunk);
  command.mutable_finish_recovery()->set_version(version);
  command.mutable_finish_recovery()->set_unreachable(unreachable);
  return apply(command);
}

pb::CommandReply Cluster::purge(std::uint64_t inode, std::uint32_t chunks_max) {
  pb::Command command;
  command.mutable_purge_inode()->set_inode(inode);
  command.mutable_purge_inode()->set_chunks_max(chunks_max);
  return apply(command);
}

pb::InodeRecord Cluster::inode(std::uint64_t id) const {
  const Result<pb::InodeRecord> inode = queries::inode(kv_, InodeId::from_raw(id));
  EXPECT_TRUE(inode.has_value()) << "inode " << id;
  return inode.value_or(pb::InodeRecord());
}

std::vector<pb::Chunk> Cluster::chunks(std::uint64_t inode, std::uint64_t first) const {
  const Result<pb::GetChunksReply> reply =
      queries::chunks(kv_, InodeId::from_raw(inode), first, 1000);
  EXPECT_TRUE(reply.has_value()) << "inode " << inode;
  if (!reply) return {};
  return {reply->chunks().begin(), reply->chunks().end()};
}

std::optional<pb::ConversionRecord> Cluster::conversion(std::uint64_t inode) const {
  const auto row = queries::conversion(kv_, InodeId::from_raw(inode));
  EXPECT_TRUE(row.has_value()) << "inode " << inode;
  return row.value_or(std::nullopt);
}

pb::Counters Cluster::counters() const { return queries::counters(kv_).value_or(pb::Counters()); }

std::uint32_t Cluster::digest() const { return Machine::digest(kv_).value_or(0); }

void Cluster::expect_sound() const {
  const Result<std::vector<std::string>> wrong = check_invariants(kv_);
  ASSERT_TRUE(wrong.has_value()) << wrong.error().to_string();
  for (const std::string& sentence : *wrong) ADD_FAILURE() << sentence;
}

}  // namespace cairn::mds::state::testing
