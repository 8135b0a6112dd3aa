// FuseSession: one mount of a FileSystem, from mount(2) to the end of the kernel's connection.
//
// Owns:     libfuse's session, the device thread, the kernel cache's threads, the requests under
//           way.
// Promises: never unmounts anything but its own mount.
// Requires: the loop thread; `fs` started. Order of the end: ended(), unmount(), fs.stop(),
//           close().
// Errors:   kNotFound (no /dev/fuse or mount point), kNotPermitted, kUnavailable.
//
// What the kernel may cache (see ops_file.cpp for the flags of an open):
//   pages       as long as client/core holds a lease of the inode; it invalidates before it gives
//   one back.
//               FUSE_CAP_AUTO_INVAL_DATA (drop pages when mtime changed) is off: it costs a request
//               per read and mtime cannot tell two writes of one tick apart;
//               FUSE_CAP_EXPLICIT_INVAL_DATA is on instead.
//   attributes  not (time-out 0), names not, negative names not, targets of symlinks yes (they
//   never change). writes      not (no FUSE_CAP_WRITEBACK_CACHE): two mounts could not agree about
//   a size.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/core/file_system.h"
#include "client/fuse/device_thread.h"
#include "client/fuse/kernel_cache.h"
#include "client/fuse/server.h"
#include "common/observe/log.h"
#include "common/runtime/completion.h"
#include "common/runtime/runtime.h"

namespace cairn::client::fuse {

class FuseSession {
 public:
  struct Options {
    std::string mount_point;                  // absolute, without symlinks
    std::string source;                       // "cairn://stor1", as findmnt shows it
    std::vector<std::string> kernel_options;  // "ro", "nosuid", "allow_other"...
    bool keep_cache = true;
    bool debug = false;  // libfuse prints each request on stderr
  };
  static Result<std::unique_ptr<FuseSession>> mount(runtime::Runtime& runtime, FileSystem& fs,
                                                    observe::Log& log, Options options);
  ~FuseSession();

  // The mount answers: asked through the kernel, as any program would. Errors: kUnavailable.
  Task<Status> serving();
  // Resumes when the mount was ended from outside, or after request_end().
  Task<void> ended();
  void request_end();
  // Unmounts if it still is mounted; lazily if it is busy. Waits at most until `deadline`.
  Task<void> unmount(Deadline deadline);
  // Refuses and answers whatever comes or waits, joins all threads and tasks.
  Task<void> close();

 private:
  FuseSession(runtime::Runtime& runtime, FileSystem& fs, observe::Log& log, Options options);
  Status open_session();
  void probe(runtime::Completion<int> done) const;

  runtime::Runtime& runtime_;
  observe::Log& log_;
  Options options_;
  KernelCache kernel_cache_;
  Server server_;
  fuse_session* session_ = nullptr;
  std::string device_;  // "0:52"
  std::unique_ptr<DeviceThread> device_thread_;
  runtime::Completion<bool> ended_;
  std::thread prober_;
  std::thread unmounter_;
  bool closed_ = false;
};

}  // namespace cairn::client::fuse
