// Server: what all operations of one mount share. FUSE threads decode a request, admit() it and
// start() a task; the task runs on the loop and answers through a Call.
//
// Owns:     the tasks of requests under way, open handles, request memory.
// Promises: every admitted request is answered exactly once. A request whose caller was killed is
//           answered EINTR at once; what it started may still finish in the background. Only fatal
//           signals do that, as on NFS: programs do not expect EINTR from mkdir().
// Requires: the loop thread for all but admit(), start(), refuse(), interrupted(), memory();
//           co_await drained() before it dies.
// Limits:   kRequestsMax requests and kWriteBytesMax bytes of writes under way; beyond, ENOMEM at
//           once, so that blocked writes never stop the reading of other requests.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "client/core/file_system.h"
#include "client/fuse/handles.h"
#include "client/fuse/request_memory.h"
#include "client/fuse/writes_under_way.h"
#include "common/observe/log.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"

struct fuse_req;  // libfuse

namespace cairn::client::fuse {

class Call;
class DirectoryHandle;
class KernelCache;

class Server {
 public:
  struct Options {
    // Kernel pages stay across opens: true only if `fs` invalidates before any lease ends.
    bool keep_cache = false;
  };
  Server(runtime::Runtime& runtime, FileSystem& fs, observe::Log& log, KernelCache& kernel_cache,
         Options options);
  ~Server();

  // FUSE threads. nullptr: the request was refused and answered. `bytes`: those of a write.
  static Server* admit(fuse_req* request, ByteCount bytes = 0);
  void start(Task<void> task);
  RequestMemoryPool& memory() { return memory_; }
  // Any thread: from now on requests are refused with ENOTCONN.
  void refuse() { refusing_ = true; }
  // Called by libfuse on a FUSE thread, for the request with this number.
  static void interrupted(fuse_req* request, void* number);

  FileSystem& fs() { return fs_; }
  runtime::Runtime& runtime() { return runtime_; }
  observe::Log& log() { return log_; }
  KernelCache& kernel_cache() { return kernel_cache_; }
  const Options& options() const { return options_; }
  HandleTable<FileHandle>& files() { return files_; }
  HandleTable<std::shared_ptr<DirectoryHandle>>& directories() { return directories_; }
  WritesUnderWay& writes() { return writes_; }

  // Answers every request under way with `errno_value`; their tasks go on unheard.
  void answer_all(int errno_value);
  // Resumes when no task runs. Handles that are still open are released.
  Task<void> drained();

 private:
  friend class Call;
  std::uint64_t add(Call* call);
  void remove(std::uint64_t number, ByteCount bytes);
  void on_interrupt(std::uint64_t number);
  void schedule_watch();
  void watch();

  static constexpr std::size_t kRequestsMax = 16'384;
  static constexpr ByteCount kWriteBytesMax = 1_GiB;

  runtime::Runtime& runtime_;
  FileSystem& fs_;
  observe::Log& log_;
  KernelCache& kernel_cache_;
  Options options_;
  RequestMemoryPool memory_;
  HandleTable<FileHandle> files_;
  HandleTable<std::shared_ptr<DirectoryHandle>> directories_;
  WritesUnderWay writes_;

  std::unordered_map<std::uint64_t, Call*> calls_;
  // Signalled but not killed (yet): looked at again while they wait.
  std::unordered_map<std::uint64_t, Call*> signalled_;
  runtime::TimerId watch_timer_ = 0;
  std::uint64_t next_call_ = 1;
  std::atomic<std::size_t> requests_ = 0;
  std::atomic<ByteCount> write_bytes_ = 0;
  std::atomic<bool> refusing_ = false;
  runtime::TaskGroup tasks_;
};

}  // namespace cairn::client::fuse
