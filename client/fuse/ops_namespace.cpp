// Names: lookup, forget, mknod, mkdir, unlink, rmdir, symlink, rename, link, readlink.
//
// The caller's umask is already in `mode` (no FUSE_CAP_DONT_MASK); setgid directories are the
// master's rule.
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "client/fuse/attributes.h"
#include "client/fuse/call.h"
#include "client/fuse/ops.h"
#include "client/fuse/server.h"

namespace cairn::client::fuse {

namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr unsigned kRenameNoReplace = 1;
constexpr unsigned kRenameExchange = 2;

Task<void> lookup(Server* server, fuse_req_t request, InodeId parent, std::string name) {
  Call call(server, request);
  const Result<pb::Attributes> found = co_await server->fs().lookup(parent, std::move(name));
  call.entry(found);
}

void on_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(lookup(server, request, InodeId::from_raw(parent), name));
}

// Nothing is kept per name the kernel knows: inodes are pinned while they are open.
void on_forget(fuse_req_t request, fuse_ino_t, std::uint64_t) { fuse_reply_none(request); }
void on_forget_multi(fuse_req_t request, std::size_t, fuse_forget_data*) {
  fuse_reply_none(request);
}

Task<void> make_node(Server* server, fuse_req_t request, pb::MakeNode node) {
  Call call(server, request);
  const Result<pb::Attributes> made = co_await server->fs().make_node(std::move(node), false);
  call.entry(made);
}

pb::MakeNode describe(fuse_req_t request, fuse_ino_t parent, const char* name, pb::FileType type,
                      mode_t mode) {
  const fuse_ctx* const caller = fuse_req_ctx(request);
  pb::MakeNode node;
  node.set_parent(parent);
  node.set_name(name);
  node.set_type(type);
  node.set_mode(mode & kPermissionBits);
  node.mutable_owner()->set_uid(caller->uid);
  node.mutable_owner()->set_gid(caller->gid);
  return node;
}

void on_mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  const pb::FileType type = from_mode(mode);
  if (type == pb::TYPE_UNSET || type == pb::TYPE_DIRECTORY || type == pb::TYPE_SYMLINK) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  pb::MakeNode node = describe(request, parent, name, type, mode);
  if (type == pb::TYPE_CHAR || type == pb::TYPE_BLOCK) {
    node.set_rdev(static_cast<std::uint32_t>(rdev));
  }
  server->start(make_node(server, request, std::move(node)));
}

void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(
      make_node(server, request, describe(request, parent, name, pb::TYPE_DIRECTORY, mode)));
}

void on_symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  constexpr mode_t kSymlinkMode = 0777;
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  pb::MakeNode node = describe(request, parent, name, pb::TYPE_SYMLINK, kSymlinkMode);
  node.set_target(target);
  server->start(make_node(server, request, std::move(node)));
}

Task<void> remove(Server* server, fuse_req_t request, InodeId parent, std::string name,
                  bool directory) {
  Call call(server, request);
  const Status done = co_await server->fs().unlink(parent, std::move(name), directory);
  call.status(done);
}

void on_unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(remove(server, request, InodeId::from_raw(parent), name, false));
}

void on_rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(remove(server, request, InodeId::from_raw(parent), name, true));
}

Task<void> rename(Server* server, fuse_req_t request, pb::Rename change) {
  Call call(server, request);
  const Status done = co_await server->fs().rename(std::move(change));
  call.status(done);
}

void on_rename(fuse_req_t request, fuse_ino_t old_parent, const char* old_name,
               fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  if ((flags & ~(kRenameNoReplace | kRenameExchange)) != 0 ||
      flags == (kRenameNoReplace | kRenameExchange)) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  pb::Rename change;
  change.set_old_parent(old_parent);
  change.set_old_name(old_name);
  change.set_new_parent(new_parent);
  change.set_new_name(new_name);
  change.set_flags(flags);
  server->start(rename(server, request, std::move(change)));
}

Task<void> link(Server* server, fuse_req_t request, InodeId inode, InodeId parent,
                std::string name) {
  Call call(server, request);
  const Result<pb::Attributes> linked = co_await server->fs().link(inode, parent, std::move(name));
  call.entry(linked);
}

void on_link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t parent, const char* name) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(link(server, request, InodeId::from_raw(inode), InodeId::from_raw(parent), name));
}

Task<void> read_link(Server* server, fuse_req_t request, InodeId inode) {
  Call call(server, request);
  const Result<std::string> target = co_await server->fs().read_link(inode);
  if (target.has_value()) {
    call.link_target(*target);
  } else {
    call.error(target.error());
  }
}

void on_readlink(fuse_req_t request, fuse_ino_t inode) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(read_link(server, request, InodeId::from_raw(inode)));
}

}  // namespace

void add_namespace_ops(fuse_lowlevel_ops& ops) {
  ops.lookup = on_lookup;
  ops.forget = on_forget;
  ops.forget_multi = on_forget_multi;
  ops.mknod = on_mknod;
  ops.mkdir = on_mkdir;
  ops.symlink = on_symlink;
  ops.unlink = on_unlink;
  ops.rmdir = on_rmdir;
  ops.rename = on_rename;
  ops.link = on_link;
  ops.readlink = on_readlink;
}

}  // namespace cairn::client::fuse
