#include "client/fuse/ops_io.h"

#include <cerrno>
#include <cstdint>
#include <vector>

#include "client/fuse/call.h"
#include "client/fuse/device_thread.h"
#include "client/fuse/kernel_cache.h"
#include "client/fuse/server.h"

namespace cairn::client::fuse {

namespace {

// The kernel names the owner of a request that goes past its pages; pages belong to nobody.
bool fills_pages(const fuse_file_info& file) { return file.lock_owner == 0; }

struct ReadOrder {
  InodeId inode;
  FileRange range;
  bool fills_pages = false;
};

Task<void> read_file(Server* server, fuse_req_t request, ReadOrder order) {
  Call call(server, request);
  if (order.fills_pages) {
    server->kernel_cache().filled(order.inode);
    if (server->writes().any(order.inode)) {
      co_await server->writes().before_read(order.inode, order.range);
    }
  }
  const Result<std::vector<Buffer>> parts =
      co_await server->fs().read(order.inode, FileOffset(order.range.offset), order.range.length);
  if (parts.has_value()) {
    call.data(*parts, order.range.length);
  } else {
    call.error(parts.error());
  }
}

void on_read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
             fuse_file_info* file) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  const ReadOrder order{.inode = InodeId::from_raw(inode),
                        .range = {static_cast<std::uint64_t>(offset), size},
                        .fills_pages = fills_pages(*file)};
  server->start(read_file(server, request, order));
}

struct WriteOrder {
  InodeId inode;
  FileRange range;
  bool append = false;
  bool sync = false;
  bool fills_pages = false;
};

Task<Status> write_and_sync(Server* server, WriteOrder order, Bytes bytes) {
  const Status written =
      co_await server->fs().write(order.inode, FileOffset(order.range.offset), bytes, order.append);
  if (!written.has_value() || !order.sync) co_return written;
  const Status synced = co_await server->fs().fsync(order.inode);
  co_return synced;
}

// Before a write is answered nobody may find the old bytes in a page of the kernel.
Task<Status> write_coherently(Server* server, WriteOrder order, Bytes bytes) {
  if (!order.fills_pages) {
    const Status written = co_await write_and_sync(server, order, bytes);
    if (server->kernel_cache().may_hold(order.inode)) {
      // An append went to the end, which is not before where the kernel believed it.
      const ByteCount length = order.append ? 0 : order.range.length;
      co_await server->kernel_cache().invalidate_range(
          order.inode, static_cast<std::int64_t>(order.range.offset),
          static_cast<std::int64_t>(length));
    }
    co_return written;
  }
  server->kernel_cache().filled(order.inode);
  const WritesUnderWay::Write under_way = server->writes().begin(order.inode, order.range);
  const Status written = co_await write_and_sync(server, order, bytes);
  const std::vector<FileRange> stale = server->writes().end(under_way);
  for (const FileRange& pages : stale) {
    co_await server->kernel_cache().invalidate_range(order.inode,
                                                     static_cast<std::int64_t>(pages.offset),
                                                     static_cast<std::int64_t>(pages.length));
  }
  co_return written;
}

Task<void> write_file(Server* server, fuse_req_t request, WriteOrder order, WriteBytes bytes) {
  const Bytes view = bytes.bytes();
  Call call(server, request, view.size());
  const Status written = co_await write_coherently(server, order, view);
  if (!written.has_value()) {
    call.error(written.error());
    co_return;
  }
  call.written(view.size());
  // O_APPEND was set after the open: the kernel keeps the bytes where it believes the end was.
  if (order.append && order.fills_pages) {
    co_await server->kernel_cache().invalidate(order.inode);
  }
}

void on_write(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t size,
              off_t offset, fuse_file_info* file) {
  Server* const server = Server::admit(request, size);
  if (server == nullptr) return;
  const WriteOrder order{.inode = InodeId::from_raw(inode),
                         .range = {static_cast<std::uint64_t>(offset), size},
                         // Pages of a mapping go where they are, whatever the file was opened for.
                         .append = (file->flags & O_APPEND) != 0 && file->writepage == 0,
                         .sync = (file->flags & (O_SYNC | O_DSYNC)) != 0,
                         .fills_pages = fills_pages(*file)};
  const Bytes bytes = std::as_bytes(std::span(data, size));
  server->start(write_file(server, request, order, DeviceThread::take_current(bytes)));
}

Task<void> flush(Server* server, fuse_req_t request, InodeId inode) {
  Call call(server, request);
  const Status done = co_await server->fs().flush(inode);
  call.status(done);
}

void on_flush(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(flush(server, request, InodeId::from_raw(inode)));
}

// fdatasync() too: the size must be durable with the bytes, and times cost nothing more.
Task<void> fsync(Server* server, fuse_req_t request, InodeId inode) {
  Call call(server, request);
  const Status done = co_await server->fs().fsync(inode);
  call.status(done);
}

void on_fsync(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  server->start(fsync(server, request, InodeId::from_raw(inode)));
}

// Nothing is set aside: a write may still find the cluster full. Programs ask for the size.
Task<void> extend(Server* server, fuse_req_t request, InodeId inode, ByteCount size) {
  Call call(server, request);
  const Result<pb::Attributes> extended = co_await server->fs().extend(inode, size);
  if (extended.has_value()) {
    call.error(0);
  } else {
    call.error(extended.error());
  }
}

void on_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                  fuse_file_info*) {
  if (mode != 0) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  Server* const server = Server::admit(request);
  if (server == nullptr) return;
  const ByteCount size = static_cast<ByteCount>(offset) + static_cast<ByteCount>(length);
  server->start(extend(server, request, InodeId::from_raw(inode), size));
}

}  // namespace

void add_io_ops(fuse_lowlevel_ops& ops) {
  ops.read = on_read;
  ops.write = on_write;
  ops.flush = on_flush;
  ops.fsync = on_fsync;
  ops.fallocate = on_fallocate;
}

}  // namespace cairn::client::fuse
