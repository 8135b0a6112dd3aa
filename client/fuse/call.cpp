#include "client/fuse/call.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "client/fuse/attributes.h"
#include "client/fuse/process.h"

namespace cairn::client::fuse {

namespace {

// The kernel asks again each time: names and attributes are cached by client/core, under its
// leases. (Later: long time-outs while a lease backs them.)
fuse_entry_param to_entry(const pb::Attributes& attributes) {
  fuse_entry_param entry{};
  entry.ino = attributes.inode();
  entry.generation = 0;  // inode ids are never used again
  entry.attr = to_stat(attributes);
  entry.attr_timeout = 0;
  entry.entry_timeout = 0;
  return entry;
}

constexpr std::size_t kPartsMax = 1000;  // IOV_MAX is 1024, libfuse adds a header

std::vector<iovec> to_iovecs(const std::vector<Buffer>& parts, ByteCount limit) {
  std::vector<iovec> list;
  list.reserve(parts.size());
  for (const Buffer& part : parts) {
    const std::size_t length = std::min<std::size_t>(part.size(), limit);
    if (length == 0) continue;
    // iovec has no const; the kernel only reads.
    list.push_back({const_cast<std::byte*>(part.data()), length});
    limit -= length;
  }
  return list;
}

}  // namespace

Call::Call(Server* server, fuse_req_t request, ByteCount bytes)
    : server_(server),
      request_(request),
      bytes_(bytes),
      caller_(fuse_req_ctx(request)->pid),
      number_(server->add(this)) {
  // Last: it may call back at once.
  fuse_req_interrupt_func(request_, &Server::interrupted, reinterpret_cast<void*>(number_));
}

Call::~Call() {
  CHECK(answered_);
  server_->remove(number_, bytes_);
}

bool Call::begin_answer() {
  if (answered_) return false;
  answered_ = true;
  return true;
}

bool Call::error(int errno_value) {
  if (!begin_answer()) return false;
  return fuse_reply_err(request_, errno_value) == 0;
}

bool Call::error(const Error& error) {
  server_->log().debug("request of process {}: {}", caller_, error.to_string());
  return this->error(error.to_errno());
}

bool Call::inode_error(const Error& error) {
  return error.code() == Code::kNotFound ? this->error(ESTALE) : this->error(error);
}

bool Call::status(const Status& status) {
  return status.has_value() ? error(0) : error(status.error());
}

bool Call::entry(const Result<pb::Attributes>& attributes) {
  if (!attributes.has_value()) return error(attributes.error());
  if (!begin_answer()) return false;
  const fuse_entry_param entry = to_entry(*attributes);
  return fuse_reply_entry(request_, &entry) == 0;
}

bool Call::attributes(const Result<pb::Attributes>& attributes) {
  if (!attributes.has_value()) return inode_error(attributes.error());
  if (!begin_answer()) return false;
  const struct stat st = to_stat(*attributes);
  return fuse_reply_attr(request_, &st, 0) == 0;
}

bool Call::opened(const fuse_file_info& file) {
  if (!begin_answer()) return false;
  return fuse_reply_open(request_, &file) == 0;
}

bool Call::created(const pb::Attributes& attributes, const fuse_file_info& file) {
  if (!begin_answer()) return false;
  const fuse_entry_param entry = to_entry(attributes);
  return fuse_reply_create(request_, &entry, &file) == 0;
}

bool Call::written(ByteCount count) {
  if (!begin_answer()) return false;
  return fuse_reply_write(request_, count) == 0;
}

bool Call::data(const std::vector<Buffer>& parts, ByteCount limit) {
  if (!begin_answer()) return false;
  std::vector<iovec> list = to_iovecs(parts, limit);
  if (list.size() <= kPartsMax) {
    return fuse_reply_iov(request_, list.data(), static_cast<int>(list.size())) == 0;
  }
  std::string whole;
  for (const iovec& part : list) {
    whole.append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
  return fuse_reply_buf(request_, whole.data(), whole.size()) == 0;
}

bool Call::bytes(std::string_view bytes) {
  if (!begin_answer()) return false;
  return fuse_reply_buf(request_, bytes.data(), bytes.size()) == 0;
}

bool Call::link_target(const std::string& target) {
  if (!begin_answer()) return false;
  return fuse_reply_readlink(request_, target.c_str()) == 0;
}

bool Call::sized(std::string_view value, std::size_t size) {
  if (size != 0 && size < value.size()) return error(ERANGE);
  if (size != 0) return bytes(value);
  if (!begin_answer()) return false;
  return fuse_reply_xattr(request_, value.size()) == 0;
}

bool Call::file_system(const struct statvfs& st) {
  if (!begin_answer()) return false;
  return fuse_reply_statfs(request_, &st) == 0;
}

bool Call::caller_killed() const { return fatal_signal_pending(caller_); }

}  // namespace cairn::client::fuse
