// FileSystem: a mounted Cairn as a set of tasks. What the FUSE glue, the simulator and later the
// gateways use; it knows none of them.
//
// Owns:     the session to the master, channels to chunk servers, leases, dirty data.
// Promises: P1 (fsync), P2 (a read sees every write completed on any mount), P8 (deadlines) of
//           docs/protocols. write() returns when the bytes are in the cache under an exclusive
//           lease.
// Requires: every call on the loop of `runtime`; start() first; co_await stop() before it dies.
// Limits:   Options::cache_bytes of dirty + clean cached data: past it write() waits.
// Errors:   namespace codes for what the application did wrong; kTooFewPieces, kTimeout, kNoSpace
//           for the cluster's troubles. An error of a delayed write is reported once by fsync or
//           the next write of the same inode.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "common/net/channel.h"
#include "common/net/stream.h"
#include "common/observe/log.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"
#include "proto/mds_client.pb.h"

namespace cairn::client {

// Breaks one promise of the data path on purpose, so that the simulator can show that it notices.
struct Sabotage {
  bool decide_early = false;  // an op is decided when all participants but one have it
  bool skip_regions = false;  // or before its regions are known to be missed by missing pieces
  bool hold_at_once = false;  // a chunk is closed while ops are under way
  bool stale_stamps = false;  // a converter does not see that a chunk was changed
};

struct Options {
  std::vector<net::Address> masters;  // session doors (port + 1)
  net::Credentials credentials;
  HostId host_id;
  std::string host;
  std::string process;  // names this process for ever (see mds_client.proto)
  std::string mount_point;
  bool read_only = false;
  std::uint32_t converter =
      0;  // the chunk server that converts files with this session; 0: a mount
  bool fail_on_nospace = false;  // false: writes wait for space
  ByteCount cache_bytes = 256_MiB;
  ByteCount dirty_bytes_per_file = 64_MiB;
  Duration writeback_age = 1s;       // dirty data older than this is flushed
  Duration operation_timeout = 30s;  // reads and namespace operations; writes: see `hard`
  bool hard = true;                  // writes below the minimum wait for ever (until stop())
  // A chunk server that cannot be reached for longer loses its piece. 0: at once, which is right
  // when the master repairs pieces.
  Duration restart_grace = 0s;
  Sabotage sabotage;  // tests of the tests only
  // True if the named process of this host still runs; asked for sessions left behind.
  std::function<bool(const std::string& process)> process_alive;
};

enum class OpenMode { kRead, kWrite };

class FileSystem {
 public:
  // Drops the kernel's pages (and attributes) of an inode; runs before a lease is given back. May
  // wait for requests that this FileSystem serves. Default: nothing to drop.
  using Invalidate = std::function<Task<void>(InodeId inode)>;

  static std::unique_ptr<FileSystem> make(runtime::Runtime& runtime, net::Network& network,
                                          observe::Log& log, Options options);
  virtual ~FileSystem() = default;

  virtual void on_invalidate(Invalidate invalidate) = 0;
  // Errors: kUnavailable, kNotAuthenticated, kWrongCluster, kTimeout.
  virtual Task<Status> start() = 0;
  // Flushes everything, gives the leases back, closes the session. Waits at most until `deadline`.
  virtual Task<Status> stop(Deadline deadline) = 0;

  virtual Task<Result<pb::Attributes>> lookup(InodeId parent, std::string name) = 0;
  virtual Task<Result<pb::Attributes>> get_attributes(InodeId inode) = 0;
  // Unset fields of `change` stay; inode and epoch are filled in here. Size truncates or extends.
  virtual Task<Result<pb::Attributes>> set_attributes(InodeId inode, pb::SetAttr change) = 0;
  // Makes a file at least `size` bytes long, never shorter, whatever others do meanwhile.
  virtual Task<Result<pb::Attributes>> extend(InodeId inode, ByteCount size) = 0;
  // create, mkdir, mknod, symlink by `request.type`. A regular file with `open` set is opened for
  // writing (release() it).
  virtual Task<Result<pb::Attributes>> make_node(pb::MakeNode request, bool open) = 0;
  virtual Task<Result<pb::Attributes>> link(InodeId inode, InodeId parent, std::string name) = 0;
  virtual Task<Status> unlink(InodeId parent, std::string name, bool directory) = 0;
  virtual Task<Status> rename(pb::Rename request) = 0;
  virtual Task<Result<std::string>> read_link(InodeId inode) = 0;
  virtual Task<Result<pb::ReadDirReply>> read_dir(pb::ReadDir request) = 0;
  virtual Task<Status> set_xattr(pb::SetXattr request) = 0;
  virtual Task<Result<std::string>> get_xattr(InodeId inode, std::string name) = 0;
  virtual Task<Result<std::vector<std::string>>> list_xattr(InodeId inode) = 0;
  virtual Task<Status> remove_xattr(InodeId inode, std::string name) = 0;
  virtual Task<Result<pb::StatFsReply>> stat_fs() = 0;

  // Counts handles; the first pins the inode at the master.
  virtual Task<Result<pb::Attributes>> open(InodeId inode, OpenMode mode) = 0;
  virtual void release(InodeId inode, OpenMode mode) = 0;

  // At most `length` bytes from `offset`, fewer only at the end of the file. Parts may share memory
  // with the cache: do not write to them.
  virtual Task<Result<std::vector<Buffer>>> read(InodeId inode, FileOffset offset,
                                                 ByteCount length) = 0;
  // Copies the bytes before the first suspension is over: `bytes` must live until the task ends.
  // `append`: the offset is the end of the file, at the time of the write.
  virtual Task<Status> write(InodeId inode, FileOffset offset, Bytes bytes, bool append) = 0;
  // Everything written so far is durable at the chunk servers and the size at the master.
  virtual Task<Status> fsync(InodeId inode) = 0;
  // Starts to write back what is dirty (close of a descriptor); reports an earlier failure.
  virtual Task<Status> flush(InodeId inode) = 0;
};

}  // namespace cairn::client
