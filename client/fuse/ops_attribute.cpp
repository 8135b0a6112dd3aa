// Attributes of inodes and of the file system: getattr, setattr, statfs. Permissions are the
// kernel's (default_permissions).
#include <sys/statvfs.h>

#include "client/fuse/attributes.h"
#include "client/fuse/call.h"
#include "client/fuse/ops.h"
#include "client/fuse/server.h"
#include "common/base/limits.h"

namespace cairn::client::fuse {

namespace {

constexpr mode_t kPermissionBits = 07777;

Task<void> get_attributes(Server* server, fuse_req_t request, InodeId inode) {
  Call call(server, request);
  const Result<pb::Attributes> attributes = co_await server->fs().get_attributes(inode);
  call.attributes(attributes);
}

void on_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(get_attributes(server, request, InodeId::from_raw(inode)));
}

Task<void> set_attributes(Server* server, fuse_req_t request, InodeId inode, pb::SetAttr change,
                          bool atime_now, bool mtime_now) {
  Call call(server, request);
  const std::int64_t now = server->runtime().wall_now().raw();
  if (atime_now) change.set_atime_ns(now);
  if (mtime_now) change.set_mtime_ns(now);
  const Result<pb::Attributes> attributes =
      co_await server->fs().set_attributes(inode, std::move(change));
  call.attributes(attributes);
}

void on_setattr(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int to_set,
                fuse_file_info*) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  pb::SetAttr change;
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.set_mode(wanted->st_mode & kPermissionBits);
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.set_uid(wanted->st_uid);
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.set_gid(wanted->st_gid);
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    change.set_size(static_cast<std::uint64_t>(wanted->st_size));
  }
  const bool atime_now = (to_set & FUSE_SET_ATTR_ATIME_NOW) != 0;
  const bool mtime_now = (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0;
  if ((to_set & FUSE_SET_ATTR_ATIME) != 0) change.set_atime_ns(to_nanos(wanted->st_atim));
  if ((to_set & FUSE_SET_ATTR_MTIME) != 0) change.set_mtime_ns(to_nanos(wanted->st_mtim));
  server->start(set_attributes(server, request, InodeId::from_raw(inode), std::move(change),
                               atime_now, mtime_now));
}

Task<void> stat_fs(Server* server, fuse_req_t request) {
  Call call(server, request);
  const Result<pb::StatFsReply> found = co_await server->fs().stat_fs();
  if (!found.has_value()) {
    call.error(found.error());
    co_return;
  }
  struct statvfs st {};
  st.f_bsize = kBlockBytes;
  st.f_frsize = kBlockBytes;
  st.f_blocks = found->total_bytes() / kBlockBytes;
  st.f_bfree = found->free_bytes() / kBlockBytes;
  st.f_bavail = found->available_bytes() / kBlockBytes;
  // Inodes are not preallocated: as many more as there is room for blocks.
  st.f_files = found->files() + st.f_bavail;
  st.f_ffree = st.f_bavail;
  st.f_favail = st.f_bavail;
  st.f_namemax = limits::kNameBytesMax;
  call.file_system(st);
}

void on_statfs(fuse_req_t request, fuse_ino_t) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(stat_fs(server, request));
}

}  // namespace

void add_attribute_ops(fuse_lowlevel_ops& ops) {
  ops.getattr = on_getattr;
  ops.setattr = on_setattr;
  ops.statfs = on_statfs;
}

}  // namespace cairn::client::fuse
