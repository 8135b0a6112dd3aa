// Premises: what a store stands on in a repository: the data file or drive, the index, the threads
// for blocking calls, the journal files. Opened once; a store that is to be opened again gets new
// ones.
//
// Promises: open() makes nothing in a repository that held pieces before, and no file where a link
//           to a drive stands. It blocks the loop for nothing that a hanging drive could hold up
//           for long: the first touch of everything is off the loop.
// Requires: the runtime's loop; dies after the store and after the device that take_device() gave.
// Errors:   kCorrupt (something is gone, or damaged), kDiskFailed, kNotFound, kReadOnly, kBusy
//           (another process has the index).
#pragma once

#include <memory>
#include <string>

#include "chunkserver/health/timed_offload.h"
#include "chunkserver/io/fault_device.h"
#include "chunkserver/ring_files.h"
#include "chunkserver/store/piece_store.h"
#include "common/cluster/repository.h"
#include "common/kv/rocks_kv.h"

namespace cairn::chunkserver {

class Premises {
 public:
  Premises(runtime::AsioRuntime& runtime, std::string directory,
           const cairn::cluster::CsRepository& repository, bool allow_faults);

  // Exists once the store was made. From then on a missing data file or index is a lost disk, never
  // a new, empty store: an empty one under the old id would answer zeros for what it lost.
  static bool made(const std::string& directory);
  static Status mark_made(const std::string& directory);

  Task<Status> open();
  // After an open() or a start of the store that missed the journal: it is there now. Off the loop.
  Task<Status> look_for_journal();
  // Requires: open.
  std::unique_ptr<io::BlockDevice> take_device() { return std::move(device_); }
  kv::Kv& index() { return *index_; }
  store::Offload offload_hook();

  RingFiles& rings() { return rings_; }
  const RingFiles& rings() const { return rings_; }
  const health::TimedOffload& offload() const { return offload_; }
  // nullptr: faults are not allowed, or it is not open. Good while its device lives.
  io::FaultDevice* data_faults() const { return data_faults_; }

 private:
  Task<Status> off_the_loop(io::Offload::Job job);

  runtime::AsioRuntime& runtime_;
  std::string directory_;
  bool allow_faults_;
  health::TimedOffload offload_;
  RingFiles rings_;
  std::unique_ptr<io::BlockDevice> device_;
  io::FaultDevice* data_faults_ = nullptr;
  std::unique_ptr<kv::RocksKv> index_;
};

}  // namespace cairn::chunkserver
