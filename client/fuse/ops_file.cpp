// Open files: open, create, release. The kernel sends O_TRUNC with the open
// (FUSE_CAP_ATOMIC_O_TRUNC).
//
// How the kernel may cache, by the flags of the open:
//   O_APPEND  not at all (FOPEN_DIRECT_IO): it believes to know the end of the file and would keep
//   the bytes at
//             that place, but another mount may have appended. The end is where client/core says.
//   O_DIRECT  not at all: the kernel's own way for O_DIRECT waits so that nobody can kill the
//   waiting program. others    reads and mapped pages, until client/core gives the lease back.
// Such handles cannot be mapped as MAP_SHARED (ENODEV): libfuse 3.14 does not know
// FUSE_DIRECT_IO_ALLOW_MMAP.
#include <cerrno>
#include <string>

#include "client/fuse/attributes.h"
#include "client/fuse/call.h"
#include "client/fuse/ops.h"
#include "client/fuse/ops_io.h"
#include "client/fuse/server.h"

namespace cairn::client::fuse {

namespace {

constexpr mode_t kPermissionBits = 07777;

fuse_file_info add_handle(Server* server, InodeId inode, int flags) {
  const bool direct = (flags & (O_APPEND | O_DIRECT)) != 0;
  fuse_file_info file{};
  file.flags = flags;
  file.fh = server->files().add({.inode = inode, .mode = open_mode(flags)});
  file.direct_io = direct ? 1 : 0;
  file.keep_cache = !direct && server->options().keep_cache ? 1 : 0;
  return file;
}

void remove_handle(Server* server, std::uint64_t number) {
  const FileHandle* const handle = server->files().find(number);
  if (handle == nullptr) return;
  server->fs().release(handle->inode, handle->mode);
  server->files().remove(number);
}

Task<Result<pb::Attributes>> truncate(Server* server, InodeId inode) {
  pb::SetAttr change;
  change.set_size(0);
  change.set_mtime_ns(server->runtime().wall_now().raw());
  Result<pb::Attributes> done = co_await server->fs().set_attributes(inode, std::move(change));
  co_return done;
}

// Opens and, if asked, truncates.
Task<Result<pb::Attributes>> open_inode(Server* server, InodeId inode, int flags) {
  const OpenMode mode = open_mode(flags);
  Result<pb::Attributes> opened = co_await server->fs().open(inode, mode);
  if (!opened.has_value() || (flags & O_TRUNC) == 0) co_return opened;
  Result<pb::Attributes> truncated = co_await truncate(server, inode);
  if (!truncated.has_value()) server->fs().release(inode, mode);
  co_return truncated;
}

Task<void> open_file(Server* server, fuse_req_t request, InodeId inode, int flags) {
  Call call(server, request);
  const Result<pb::Attributes> opened = co_await open_inode(server, inode, flags);
  if (!opened.has_value()) {
    call.inode_error(opened.error());
    co_return;
  }
  const fuse_file_info file = add_handle(server, inode, flags);
  if (!call.opened(file)) remove_handle(server, file.fh);
}

void on_open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(open_file(server, request, InodeId::from_raw(inode), file->flags));
}

// Another mount made the name since the kernel looked: the file is opened as it is, unless O_EXCL.
Task<Result<pb::Attributes>> open_existing(Server* server, pb::MakeNode node, int flags) {
  const InodeId parent = InodeId::from_raw(node.parent());
  const Result<pb::Attributes> found = co_await server->fs().lookup(parent, node.name());
  if (!found.has_value()) co_return fail(found.error());
  if (found->type() != pb::TYPE_REGULAR) co_return fail(Code::kExists, "not a regular file");
  const InodeId inode = InodeId::from_raw(found->inode());
  Result<pb::Attributes> opened = co_await open_inode(server, inode, flags);
  co_return opened;
}

Task<Result<pb::Attributes>> create_inode(Server* server, pb::MakeNode node, int flags) {
  Result<pb::Attributes> made = co_await server->fs().make_node(node, true);
  if (!made.has_value()) {
    if (made.error().code() != Code::kExists || (flags & O_EXCL) != 0) co_return made;
    made = co_await open_existing(server, std::move(node), flags);
    co_return made;
  }
  if (open_mode(flags) == OpenMode::kWrite) co_return made;
  // make_node() opened for writing: a reader must not hold on to that.
  const InodeId inode = InodeId::from_raw(made->inode());
  Result<pb::Attributes> opened = co_await server->fs().open(inode, OpenMode::kRead);
  server->fs().release(inode, OpenMode::kWrite);
  co_return opened;
}

Task<void> create(Server* server, fuse_req_t request, pb::MakeNode node, int flags) {
  Call call(server, request);
  const Result<pb::Attributes> made = co_await create_inode(server, std::move(node), flags);
  if (!made.has_value()) {
    call.error(made.error());
    co_return;
  }
  const fuse_file_info file = add_handle(server, InodeId::from_raw(made->inode()), flags);
  if (!call.created(*made, file)) remove_handle(server, file.fh);
}

void on_create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
               fuse_file_info* file) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  const fuse_ctx* const caller = fuse_req_ctx(request);
  pb::MakeNode node;
  node.set_parent(parent);
  node.set_name(name);
  node.set_type(pb::TYPE_REGULAR);
  node.set_mode(mode & kPermissionBits);
  node.mutable_owner()->set_uid(caller->uid);
  node.mutable_owner()->set_gid(caller->gid);
  server->start(create(server, request, std::move(node), file->flags));
}

Task<void> release(Server* server, fuse_req_t request, std::uint64_t number) {
  Call call(server, request);
  remove_handle(server, number);
  call.error(0);
  co_return;
}

void on_release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(release(server, request, file->fh));
}

}  // namespace

void add_file_ops(fuse_lowlevel_ops& ops) {
  ops.open = on_open;
  ops.create = on_create;
  ops.release = on_release;
  add_io_ops(ops);
}

}  // namespace cairn::client::fuse
