// MemoryFileSystem: the FileSystem of one mount of a cluster that lives in this process's memory.
// For tests of client/fuse against a real kernel, without servers.
//
// Promises: what docs/protocols/namespace.md promises of leases: one exclusive or many shared
//           holders per file; a mount that has a file open for writing asks for exclusive; a
//           holder's kernel pages are dropped before its lease ends. So two mounts of one
//           MemoryCluster agree, if client/fuse is right.
// Requires: the loop thread.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "client/core/file_system.h"
#include "common/runtime/semaphore.h"

namespace cairn::tests {

class MemoryFileSystem;

struct MemoryInode {
  explicit MemoryInode(runtime::Runtime& runtime) : turn(runtime) {}
  pb::Attributes attributes;
  std::map<std::string, std::uint64_t> names;  // directory
  std::uint64_t parent = 0;
  std::string target;  // symlink
  std::string data;
  std::map<std::string, std::string> xattrs;
  std::size_t opens = 0;
  // Leases: `turn` is held by whoever makes others give theirs back.
  runtime::Mutex turn;
  std::set<MemoryFileSystem*> shared;
  MemoryFileSystem* exclusive = nullptr;
};

class MemoryCluster {
 public:
  explicit MemoryCluster(runtime::Runtime& runtime);
  runtime::Runtime& runtime() { return runtime_; }
  std::shared_ptr<MemoryInode> find(std::uint64_t inode) const;
  std::shared_ptr<MemoryInode> add(pb::FileType type, std::uint32_t mode);
  void purge(std::uint64_t inode);
  std::int64_t now() { return runtime_.wall_now().raw(); }
  std::uint64_t file_count() const { return inodes_.size(); }

 private:
  runtime::Runtime& runtime_;
  std::map<std::uint64_t, std::shared_ptr<MemoryInode>> inodes_;
  std::uint64_t next_ = 1;
};

class MemoryFileSystem final : public client::FileSystem {
 public:
  explicit MemoryFileSystem(MemoryCluster& cluster) : cluster_(cluster) {}

  void on_invalidate(Invalidate invalidate) override { invalidate_ = std::move(invalidate); }
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
  Task<Result<pb::Attributes>> open(InodeId inode, client::OpenMode mode) override;
  void release(InodeId inode, client::OpenMode mode) override;
  Task<Result<std::vector<Buffer>>> read(InodeId inode, FileOffset offset,
                                         ByteCount length) override;
  Task<Status> write(InodeId inode, FileOffset offset, Bytes bytes, bool append) override;
  Task<Status> fsync(InodeId inode) override;
  Task<Status> flush(InodeId inode) override;

  // While true, reads and writes wait (a cluster that does not answer).
  void freeze(bool frozen);

 private:
  Task<void> acquire(std::shared_ptr<MemoryInode> inode, bool exclusive);
  Task<void> give_back(std::shared_ptr<MemoryInode> inode);
  bool holds(const MemoryInode& inode, bool exclusive) const;
  void unlink_inode(const std::shared_ptr<MemoryInode>& inode);

  MemoryCluster& cluster_;
  Invalidate invalidate_;
  std::map<std::uint64_t, int> writers_;  // files this mount has open for writing
  std::map<std::uint64_t, std::uint64_t>
      served_;  // requests per file, to see some during invalidation
  runtime::Signal thawed_{cluster_.runtime()};
  bool frozen_ = false;
};

}  // namespace cairn::tests
