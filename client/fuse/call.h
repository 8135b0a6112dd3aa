// Call: one request of the kernel under way, answered exactly once. Lives in the frame of the task
// that serves the request.
//
// Each answer says whether the kernel has it: false after an interruption. Then what the request
// opened must be closed again.
#pragma once

#include <sys/statvfs.h>

#include <string_view>
#include <vector>

#include "client/fuse/fuse_api.h"
#include "client/fuse/server.h"
#include "proto/types.pb.h"

namespace cairn::client::fuse {

class Call {
 public:
  // `bytes`: as given to Server::admit().
  Call(Server* server, fuse_req_t request, ByteCount bytes = 0);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  bool error(int errno_value);
  bool error(const Error& error);
  // Of a request by inode: an inode that is gone means that the kernel went by an old name. ESTALE
  // makes it look the name up anew, so that stat() or open() of a name that was replaced meanwhile
  // finds the new one, never nothing.
  bool inode_error(const Error& error);
  bool status(const Status& status);
  // A name the kernel may use: LOOKUP, MKNOD, LINK and friends.
  bool entry(const Result<pb::Attributes>& attributes);
  bool attributes(const Result<pb::Attributes>& attributes);
  bool opened(const fuse_file_info& file);
  bool created(const pb::Attributes& attributes, const fuse_file_info& file);
  bool written(ByteCount count);
  bool data(const std::vector<Buffer>& parts, ByteCount limit);
  bool bytes(std::string_view bytes);
  bool link_target(const std::string& target);
  // Extended attributes: `size` 0 asks for the length only.
  bool sized(std::string_view value, std::size_t size);
  bool file_system(const struct statvfs& st);

  bool answered() const { return answered_; }
  // True when the caller is gone or about to be: a fatal signal waits for it.
  bool caller_killed() const;

 private:
  bool begin_answer();

  Server* server_;
  fuse_req_t request_;
  ByteCount bytes_;
  pid_t caller_;
  std::uint64_t number_;
  bool answered_ = false;
};

}  // namespace cairn::client::fuse
