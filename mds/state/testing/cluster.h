// Cluster: a state machine over a MemKv with short ways to say commands. For tests.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/kv/mem_kv.h"
#include "mds/state/machine.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state::testing {

inline Code code_of(const pb::ErrorDetail& error) { return static_cast<Code>(error.code()); }

class Cluster {
 public:
  static constexpr std::uint64_t kRoot = 1;

  // An empty machine; init() makes the cluster.
  Cluster() = default;
  static Cluster made();

  // Applies one command at the next slot; time goes on by one each time. A broken store fails the
  // test.
  pb::CommandReply apply(pb::Command command);
  // The error code of the reply; 0 when it was done.
  static std::uint32_t error(const pb::CommandReply& reply) { return reply.error().code(); }

  std::uint64_t open_session(const std::string& process = "1 2 3 4");
  std::uint32_t add_cs(std::uint64_t repo_uuid);
  // Sends a mutation with the next seq of its session and acknowledges all before it.
  pb::ClientReply mutate(std::uint64_t session, pb::ClientRequest request,
                         const std::vector<std::uint32_t>& places = {});
  pb::CommandReply mutate_as(pb::ClientRequest request,
                             const std::vector<std::uint32_t>& places = {});

  pb::ClientReply make(std::uint64_t session, std::uint64_t parent, std::string_view name,
                       pb::FileType type = pb::TYPE_REGULAR, bool lease = false);
  // The inode, which must be made.
  std::uint64_t file(std::uint64_t session, std::uint64_t parent, std::string_view name);
  std::uint64_t directory(std::uint64_t session, std::uint64_t parent, std::string_view name);
  pb::ClientReply link(std::uint64_t session, std::uint64_t inode, std::uint64_t parent,
                       std::string_view name);
  pb::ClientReply unlink(std::uint64_t session, std::uint64_t parent, std::string_view name,
                         bool directory = false);
  struct Names {
    std::uint64_t old_parent;
    std::string_view old_name;
    std::uint64_t new_parent;
    std::string_view new_name;
  };
  pb::ClientReply rename(std::uint64_t session, Names names, std::uint32_t flags = 0);
  pb::ClientReply set_attr(std::uint64_t session, pb::SetAttr change);
  pb::ClientReply truncate(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                           std::uint64_t size);
  pb::ClientReply open_chunk(std::uint64_t session, pb::OpenChunk open,
                             const std::vector<std::uint32_t>& places);
  pb::ClientReply commit(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                         std::uint64_t size, bool trimmed = false, std::uint64_t written = 0);
  pb::ClientReply release(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                          bool unsettled = false, std::uint64_t size = 0);
  pb::CommandReply grant(std::uint64_t session, std::uint64_t inode);
  pb::CommandReply end_session(std::uint64_t session);
  pb::CommandReply set_policy(std::uint64_t inode, std::uint32_t data, std::uint32_t parity,
                              std::uint32_t min);
  pb::ClientReply make_shadow(std::uint64_t session, std::uint64_t inode);
  pb::ClientReply swap_data(std::uint64_t session, std::uint64_t inode, std::uint64_t epoch,
                            std::uint64_t shadow);
  pb::CommandReply begin_recovery(std::uint64_t chunk);
  pb::CommandReply finish_recovery(std::uint64_t chunk, std::uint64_t version,
                                   std::uint32_t unreachable = 0);
  pb::CommandReply purge(std::uint64_t inode, std::uint32_t chunks_max);

  pb::InodeRecord inode(std::uint64_t id) const;
  pb::Attributes attributes(std::uint64_t id) const { return inode(id).attributes(); }
  // Chunks from index `first` on.
  std::vector<pb::Chunk> chunks(std::uint64_t inode, std::uint64_t first = 0) const;
  std::optional<pb::ConversionRecord> conversion(std::uint64_t inode) const;
  pb::Counters counters() const;
  std::uint32_t digest() const;
  // Fails the test when the tables contradict themselves.
  void expect_sound() const;

  kv::MemKv& kv() { return kv_; }
  const kv::MemKv& kv() const { return kv_; }
  std::int64_t time_ns() const { return time_ns_; }
  // Every command so far, as it was applied.
  const std::vector<pb::Command>& log() const { return log_; }

 private:
  kv::MemKv kv_;
  std::uint64_t slot_ = 0;
  std::int64_t time_ns_ = 1000;
  std::map<std::uint64_t, std::uint64_t> next_seq_;
  std::vector<pb::Command> log_;
};

}  // namespace cairn::mds::state::testing
