// Directories as lists: opendir, readdir, releasedir, fsyncdir.
#include <cerrno>
#include <string>

#include "client/fuse/attributes.h"
#include "client/fuse/call.h"
#include "client/fuse/directory_handle.h"
#include "client/fuse/ops.h"
#include "client/fuse/server.h"

namespace cairn::client::fuse {

namespace {

Task<void> open_directory(Server* server, fuse_req_t request, InodeId inode) {
  Call call(server, request);
  fuse_file_info file{};
  file.fh = server->directories().add(std::make_shared<DirectoryHandle>(server->runtime(), inode));
  if (!call.opened(file)) server->directories().remove(file.fh);
  co_return;
}

void on_opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(open_directory(server, request, InodeId::from_raw(inode)));
}

// Appends the entry as the kernel reads it. False: no room.
bool append_entry(fuse_req_t request, std::string& list, std::size_t size,
                  const DirectoryHandle::Entry& entry, std::uint64_t next_index) {
  struct stat st {};
  st.st_ino = entry.inode;
  st.st_mode = to_file_type(entry.type);
  const std::size_t before = list.size();
  const std::size_t needed = fuse_add_direntry(request, nullptr, 0, entry.name.c_str(), nullptr, 0);
  if (before + needed > size) return false;
  list.resize(before + needed);
  fuse_add_direntry(request, list.data() + before, needed, entry.name.c_str(), &st,
                    static_cast<off_t>(next_index));
  return true;
}

Task<void> read_directory(Server* server, fuse_req_t request, std::uint64_t number,
                          std::uint64_t offset, std::size_t size) {
  Call call(server, request);
  std::shared_ptr<DirectoryHandle>* const found = server->directories().find(number);
  if (found == nullptr) {
    call.error(EBADF);
    co_return;
  }
  const std::shared_ptr<DirectoryHandle> handle = *found;
  const runtime::Semaphore::Permit guard = co_await handle->mutex().lock();
  if (offset == 0) handle->rewind();

  std::string list;
  list.reserve(size);
  // One load() at most once something can be answered: the rest comes with the next request.
  for (std::uint64_t index = offset;; ++index) {
    const DirectoryHandle::Entry* entry = handle->entry(index);
    if (entry == nullptr) {
      if (!list.empty()) break;
      const Result<bool> more = co_await handle->load(&server->fs(), index);
      if (!more.has_value()) {
        call.error(more.error());
        co_return;
      }
      entry = handle->entry(index);
      if (!*more) break;
      if (entry == nullptr) continue;  // removed since an old page was first read
    }
    if (!append_entry(request, list, size, *entry, index + 1)) break;
  }
  call.bytes(list);
}

void on_readdir(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset,
                fuse_file_info* file) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(
      read_directory(server, request, file->fh, static_cast<std::uint64_t>(offset), size));
}

Task<void> release_directory(Server* server, fuse_req_t request, std::uint64_t number) {
  Call call(server, request);
  server->directories().remove(number);
  call.error(0);
  co_return;
}

void on_releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(release_directory(server, request, file->fh));
}

// Each change of the namespace is in the replicated log before it is answered: nothing is left to
// do.
void on_fsyncdir(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  fuse_reply_err(request, 0);
}

}  // namespace

void add_directory_ops(fuse_lowlevel_ops& ops) {
  ops.opendir = on_opendir;
  ops.readdir = on_readdir;
  ops.releasedir = on_releasedir;
  ops.fsyncdir = on_fsyncdir;
}

}  // namespace cairn::client::fuse
