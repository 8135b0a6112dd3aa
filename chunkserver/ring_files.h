// RingFiles: the journal files of a store that lie outside its data file: DIR/cairn-journal in a
// directory that this chunk server owns (common/cluster/journal_directory.h).
//
// Promises: a file is made only in a directory that was taken for this repository before: not on
//           the root disk below an SSD that is not mounted. What is open is locked against a second
//           process. Devices are metered, and misbehave on order where faults are allowed.
// Requires: outlives the devices it opened and the store that has its hooks.
// Errors:   kJournalFailed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chunkserver/io/fault_plan.h"
#include "chunkserver/io/metered_device.h"
#include "chunkserver/store/ring_device.h"
#include "common/cluster/journal_directory.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::chunkserver {

class RingFiles {
 public:
  RingFiles(runtime::AsioRuntime& runtime, cairn::cluster::JournalOwner owner, bool allow_faults)
      : runtime_(runtime), owner_(std::move(owner)), allow_faults_(allow_faults) {}
  RingFiles(const RingFiles&) = delete;
  RingFiles& operator=(const RingFiles&) = delete;

  // For StoreOptions.
  store::OpenRing open_hook();
  store::RemoveRing remove_hook();

  // The directory is ours from now on, and has room for a journal of so many bytes. kBusy,
  // kNoSpace, errors of the filesystem.
  Status take(const std::string& directory, ByteCount bytes) const;
  Status release(const std::string& directory) const;

  // The directory whose journal was not there when it was to be opened last. Empty: none.
  const std::string& absent() const { return absent_; }
  // Is it there now? kJournalFailed: no. Touches the drive, changes nothing: for any thread.
  Status look_again(const std::string& directory) const;

  // Of all that are open: age of the oldest request, failures since the start.
  Duration oldest_request() const;
  std::uint64_t io_errors() const;
  // Requires: faults are allowed. For what is open and what will be.
  void set_fault_plan(const io::FaultPlan& plan);
  const io::FaultPlan& fault_plan() const { return plan_; }

 private:
  class Device;
  Result<std::unique_ptr<io::BlockDevice>> open(const std::string& directory, bool create);
  // The directory is that of this repository's journal.
  Status check_owner(const std::string& directory) const;
  Status remove(const std::string& directory) const;

  runtime::AsioRuntime& runtime_;
  cairn::cluster::JournalOwner owner_;
  bool allow_faults_;
  io::FaultPlan plan_;
  std::vector<Device*> open_;
  std::string absent_;
  std::uint64_t past_errors_ = 0;  // of devices that are closed
};

}  // namespace cairn::chunkserver
