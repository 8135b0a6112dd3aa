// Extended attributes of the namespaces user. and trusted. The kernel checks who may use which.
//
// security. and system. are not kept: before each write the kernel asks for security.capability,
// and the answer "none" must cost no trip to the loop.
#include <cerrno>
#include <string>
#include <string_view>

#include "client/fuse/call.h"
#include "client/fuse/ops.h"
#include "client/fuse/server.h"

namespace cairn::client::fuse {

namespace {

constexpr std::string_view kUser = "user.";
constexpr std::string_view kTrusted = "trusted.";

bool is_kept(std::string_view name) {
  return name.starts_with(kUser) || name.starts_with(kTrusted);
}

Task<void> set_xattr(Server* server, fuse_req_t request, pb::SetXattr change) {
  Call call(server, request);
  const Status done = co_await server->fs().set_xattr(std::move(change));
  call.status(done);
}

void on_setxattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value,
                 std::size_t size, int flags) {
  if (!is_kept(name)) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  pb::SetXattr change;
  change.set_inode(inode);
  change.set_name(name);
  change.set_value(value, size);
  change.set_flags(static_cast<std::uint32_t>(flags));
  server->start(set_xattr(server, request, std::move(change)));
}

Task<void> get_xattr(Server* server, fuse_req_t request, InodeId inode, std::string name,
                     std::size_t size) {
  Call call(server, request);
  const Result<std::string> value = co_await server->fs().get_xattr(inode, std::move(name));
  if (value.has_value()) {
    call.sized(*value, size);
  } else {
    call.error(value.error());
  }
}

void on_getxattr(fuse_req_t request, fuse_ino_t inode, const char* name, std::size_t size) {
  if (!is_kept(name)) {
    const bool security = std::string_view(name).starts_with("security.");
    fuse_reply_err(request, security ? ENODATA : EOPNOTSUPP);
    return;
  }
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(get_xattr(server, request, InodeId::from_raw(inode), name, size));
}

// Each name with its NUL, as listxattr(2) wants them. trusted. is for the superuser.
std::string join_names(const std::vector<std::string>& names, bool superuser) {
  std::string joined;
  for (const std::string& name : names) {
    if (!superuser && name.starts_with(kTrusted)) continue;
    joined += name;
    joined += '\0';
  }
  return joined;
}

Task<void> list_xattr(Server* server, fuse_req_t request, InodeId inode, std::size_t size,
                      bool superuser) {
  Call call(server, request);
  const Result<std::vector<std::string>> names = co_await server->fs().list_xattr(inode);
  if (!names.has_value()) {
    call.error(names.error());
    co_return;
  }
  const std::string joined = join_names(*names, superuser);
  call.sized(joined, size);
}

void on_listxattr(fuse_req_t request, fuse_ino_t inode, std::size_t size) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  const bool superuser = fuse_req_ctx(request)->uid == 0;
  server->start(list_xattr(server, request, InodeId::from_raw(inode), size, superuser));
}

Task<void> remove_xattr(Server* server, fuse_req_t request, InodeId inode, std::string name) {
  Call call(server, request);
  const Status done = co_await server->fs().remove_xattr(inode, std::move(name));
  call.status(done);
}

void on_removexattr(fuse_req_t request, fuse_ino_t inode, const char* name) {
  if (!is_kept(name)) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(remove_xattr(server, request, InodeId::from_raw(inode), name));
}

}  // namespace

void add_xattr_ops(fuse_lowlevel_ops& ops) {
  ops.setxattr = on_setxattr;
  ops.getxattr = on_getxattr;
  ops.listxattr = on_listxattr;
  ops.removexattr = on_removexattr;
}

}  // namespace cairn::client::fuse
