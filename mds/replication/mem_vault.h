// MemVault: the TableVault of tests and the simulator. Outlives the crash of its users.
//
// Promises: what table_vault.h says, every operation after `latency`; crash() leaves what a power
//           failure would: the tables of the last flush, and what came in of a snapshot.
// Requires: as table_vault.h; attach() between a crash and the next use.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "common/kv/mem_kv.h"
#include "common/runtime/runtime.h"
#include "mds/replication/table_vault.h"

namespace cairn::mds::replication {

class MemVault final : public TableVault {
 public:
  MemVault(runtime::Runtime& runtime, Duration latency);
  // From now on used by another life of the node, on its runtime.
  void attach(runtime::Runtime& runtime);

  kv::Kv& tables() override { return *kv_; }
  Task<Status> flush() override;
  Task<Result<Snapshot>> open_snapshot(std::uint64_t resume) override;
  Task<Result<std::string>> read_snapshot(std::uint64_t id, std::uint32_t file, ByteCount offset,
                                          ByteCount bytes) override;
  Task<Result<std::vector<ByteCount>>> begin_incoming(Snapshot snapshot) override;
  Task<Status> write_incoming(std::uint32_t file, ByteCount offset, std::string bytes) override;
  std::uint64_t incoming_id() const override;
  Task<Status> install_incoming() override;
  Task<Result<std::uint32_t>> digest() override;
  Task<void> stop() override;

  // Operations under way are lost and never answered.
  void crash();
  // The disk is gone: empty tables.
  void wipe();
  // Every later flush and install fails with kDiskFailed.
  void fail_from_now() { failed_ = true; }
  // Snapshots coming in that need more are refused with kNoSpace.
  void set_free_bytes(ByteCount bytes) { free_bytes_ = bytes; }
  // So many of the next open_snapshot() answer kBusy, as a vault with large tables does.
  void set_busy(int times) { busy_ = times; }
  // A bit of the incoming snapshot flips; false: nothing is there.
  bool damage_incoming();
  std::uint64_t flushes() const { return flushes_; }
  std::uint64_t installs() const { return installs_; }

 private:
  struct Served {
    Snapshot snapshot;
    std::string bytes;
    Instant made;
    Instant last_use;
  };
  struct Incoming {
    Snapshot snapshot;
    std::vector<std::string> files;
  };
  // Ends after the latency: Ok, kCancelled when stopping, never when the node crashed.
  Task<Status> pause();
  void make_snapshot();
  Status install();

  runtime::Runtime* runtime_;
  Duration latency_;
  std::unique_ptr<kv::MemKv> kv_;
  std::optional<Served> served_;
  std::optional<Incoming> incoming_;
  ByteCount free_bytes_ = UINT64_MAX;
  std::uint64_t life_ = 0;
  int busy_ = 0;
  std::size_t running_ = 0;
  std::uint64_t flushes_ = 0;
  std::uint64_t installs_ = 0;
  bool stopping_ = false;
  bool failed_ = false;
};

}  // namespace cairn::mds::replication
