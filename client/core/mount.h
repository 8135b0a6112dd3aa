// Mount: the FileSystem of production and simulation. Wires session, leases, reader, writer and
// write-back; namespace operations pass through to the master, with what we delay laid over its
// answers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/core/chunk_map.h"
#include "client/core/conversion_port.h"
#include "client/core/cs_links.h"
#include "client/core/file_system.h"
#include "client/core/lease_keeper.h"
#include "client/core/reader.h"
#include "client/core/session.h"
#include "client/core/writeback.h"
#include "client/core/writer.h"

namespace cairn::client {

class Mount final : public FileSystem, public ConversionPort, private Session::Owner {
 public:
  Mount(runtime::Runtime& runtime, net::Network& network, observe::Log& log, Options options);
  ~Mount() override;

  void on_invalidate(Invalidate invalidate) override;
  Task<Status> start() override;
  Task<Status> stop(Deadline deadline) override;

  Task<Result<pb::Attributes>> lookup(InodeId parent, std::string name) override;
  Task<Result<pb::Attributes>> get_attributes(InodeId inode) override;
  Task<Result<pb::Attributes>> set_attributes(InodeId inode, pb::SetAttr change) override;
  Task<Result<pb::Attributes>> extend(InodeId inode, ByteCount size) override;
  Task<Result<pb::Attributes>> make_node(pb::MakeNode request, bool open) override;
  Task<Result<pb::Attributes>> link(InodeId inode, InodeId parent, std::string name) override;
  Task<Status> unlink(InodeId parent, std::string name, bool directory) override;
  Task<Status> rename(pb::Rename request) override;
  Task<Result<std::string>> read_link(InodeId inode) override;
  Task<Result<pb::ReadDirReply>> read_dir(pb::ReadDir request) override;
  Task<Status> set_xattr(pb::SetXattr request) override;
  Task<Result<std::string>> get_xattr(InodeId inode, std::string name) override;
  Task<Result<std::vector<std::string>>> list_xattr(InodeId inode) override;
  Task<Status> remove_xattr(InodeId inode, std::string name) override;
  Task<Result<pb::StatFsReply>> stat_fs() override;

  Task<Result<pb::Attributes>> open(InodeId inode, OpenMode mode) override;
  void release(InodeId inode, OpenMode mode) override;
  Task<Result<std::vector<Buffer>>> read(InodeId inode, FileOffset offset,
                                         ByteCount length) override;
  Task<Status> write(InodeId inode, FileOffset offset, Bytes bytes, bool append) override;
  Task<Status> fsync(InodeId inode) override;
  Task<Status> flush(InodeId inode) override;

  std::uint64_t session_generation() const override;
  Task<Result<pb::NextConversionReply>> next_conversion(pb::NextConversion tell) override;
  Task<Result<InodeId>> make_shadow(InodeId source) override;
  void drop_shadow(InodeId shadow) override;
  Task<Status> settle_shadow(InodeId shadow) override;
  Task<Result<pb::GetChunksReply>> chunks_of(InodeId file, std::uint64_t first,
                                             std::uint32_t count) override;
  Task<Result<Look>> look(InodeId source, std::uint64_t first, std::uint32_t count,
                          const FileHold* hold) override;
  Task<Result<std::vector<Buffer>>> read_source(InodeId source, FileOffset offset, ByteCount length,
                                                const FileHold* hold) override;
  Task<Result<FileHold>> hold_still(InodeId source) override;
  void let_go(InodeId source, FileHold* hold) override;
  Task<Status> swap(FileHold* hold, InodeId shadow) override;

 private:
  using Parts = std::vector<Buffer>;

  // Session::Owner
  void on_recall(pb::RecallLease recall) override;
  void on_hold(pb::HoldChunk hold) override;
  pb::Reclaim held() const override;
  void on_session_gone() override;
  pb::KeepAlive statistics() const override;

  Task<void> ticker();
  Task<void> release_leases(Deadline deadline);
  Task<Status> flush_for_recall(InodePtr inode);

  Task<Result<pb::ClientReply>> ask(pb::ClientRequest request);
  // A request whose answer is the attributes of one inode. Repeated when a lease was given back
  // meanwhile: the answer could be older than what we knew.
  Task<Result<pb::Attributes>> ask_attributes(pb::ClientRequest request, InodeId inode);
  pb::Attributes overlaid(pb::Attributes attributes) const;

  Task<Result<Parts>> read_held(InodePtr inode, FileOffset offset, ByteCount length,
                                Deadline deadline);
  Task<Result<Buffer>> read_mixed(InodePtr inode, FileRun blocks, Deadline deadline);
  Task<Result<Usage>> enter_source(InodePtr inode, const FileHold* hold, Deadline deadline);
  Task<Status> write_part(InodePtr inode, FileOffset offset, Bytes bytes, bool append);
  Task<Result<bool>> store(InodePtr inode, FileOffset offset, Bytes bytes, bool append);
  Task<Status> fill_edges(InodePtr inode, FileOffset offset, ByteCount length, Deadline deadline);
  Status take_error(Inode& inode);
  Deadline write_deadline() const;

  enum class Resize { kExactly, kGrowOnly };
  Task<Result<pb::Attributes>> set_size(InodePtr inode, pb::SetAttr change, Resize resize);
  Task<Result<pb::Attributes>> set_size_alone(InodePtr inode, pb::SetAttr change);
  Task<Status> ensure_trimmed(InodePtr inode, Deadline deadline);
  Task<Status> trim_alone(InodePtr inode, Deadline deadline);
  Task<Status> zero_edge(InodePtr inode, ByteCount size, Deadline deadline);
  // The status of `work`, or kTimeout: then it goes on by itself.
  Task<Status> bounded(Task<Status> work, Deadline deadline);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  const Options options_;
  CachePool pool_;
  Session session_;
  CsLinks links_;
  LeaseKeeper leases_;
  ChunkMap map_;
  Reader reader_;
  Writer writer_;
  Writeback writeback_;
  runtime::TaskGroup tasks_;
  Event wake_;
  bool stopping_ = false;
  bool leases_released_ = false;
  bool leases_valid_ = false;  // at the last tick
  Status last_flush_;
  std::uint64_t reads_ = 0;
  std::uint64_t writes_ = 0;
  std::uint64_t fsyncs_ = 0;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace cairn::client
