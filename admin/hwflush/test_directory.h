// TestDirectory: the directory on the device under test: its id and the counters of all threads.
//
//   DIR/hwflush.id       32 hex digits: which directory this is; locked while a client runs
//   DIR/id<N>.counter    the file of thread N
//
// Promises: look() changes nothing on the disk. begin() makes what is missing, durably.
//           An id file that makes no sense counts as none: the device may have lost it.
// Errors:   kBusy when another client uses it; else as cluster::system_error.
#pragma once

#include <optional>
#include <string>

#include "admin/drive/file_descriptor.h"
#include "admin/hwflush/counter_file.h"
#include "admin/hwflush/protocol.h"
#include "common/base/result.h"

namespace cairn::admin::hwflush {

class TestDirectory {
 public:
  // `path` is absolute; it need not exist.
  static Result<TestDirectory> look(const std::string& path);

  const std::string& path() const { return path_; }
  DirectoryId id() const { return id_; }                // empty: it has none yet
  const Counters& on_disk() const { return on_disk_; }  // of the files that are there
  std::uint64_t counter_of(std::uint32_t thread) const;

  // Takes away the counters and the id: what comes now is another directory.
  Status clear();
  // Makes the directory and its id (`fresh`, when it has none) and locks it.
  Status begin(DirectoryId fresh);
  std::string file_of(std::uint32_t thread) const;

 private:
  explicit TestDirectory(std::string path) : path_(std::move(path)) {}
  std::string id_file() const { return path_ + "/hwflush.id"; }
  Status lock();

  std::string path_;
  DirectoryId id_;
  Counters on_disk_;
  FileDescriptor lock_;
};

}  // namespace cairn::admin::hwflush
