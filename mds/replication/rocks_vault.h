// RocksVault: the tables of the daemon: RocksDB in REPO/db, snapshots for others in
// REPO/snapshots/, somebody else's in REPO/incoming/ (docs/formats/repository.md).
//
// Owns:     those directories and REPO/db.old; three threads: flushes, digests, files. Neither
//           waits for another.
// Promises: what table_vault.h says. open() completes a replacement that a crash interrupted and
//           removes what earlier lives left.
// Requires: the repository belongs to this process alone; the loop thread; co_await stop().
// Limits:   kDigestsMax digests at a time, one snapshot for others, one coming in.
// Errors:   kCancelled (stopping, or the tables are being replaced), kOverloaded (too many
//           digests). When install_incoming() answers kDiskFailed the tables may be closed: every
//           use of tables() then fails so, and only another life can go on.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "common/kv/rocks_kv.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"
#include "mds/replication/helper_thread.h"
#include "mds/replication/incoming_store.h"
#include "mds/replication/table_swap.h"
#include "mds/replication/table_vault.h"

namespace cairn::mds::replication {

class RocksVault final : public TableVault {
 public:
  static constexpr std::size_t kDigestsMax = 4;

  // What tables of tens of millions of inodes need.
  static kv::RocksKv::Options tables_options(ByteCount cache_bytes = 256_MiB);

  struct Options {
    kv::RocksKv::Options tables = tables_options();
    // A snapshot of another cluster is refused. None: any is taken.
    ClusterId cluster_id;
    Duration keep_snapshot = 1min;
    // An incoming snapshot leaves this much of the disk to the tables and the log.
    ByteCount reserve_bytes = 256_MiB;
    // Tests: the free space, and crashes between the steps of install_incoming().
    std::function<Result<ByteCount>()> free_bytes = {};
    SwapHook swap_hook = {};
  };
  // Blocks on the disk.
  static Result<std::unique_ptr<RocksVault>> open(runtime::Runtime& runtime, observe::Log& log,
                                                  const disk::Path& repository, Options options);
  ~RocksVault() override;
  RocksVault(const RocksVault&) = delete;
  RocksVault& operator=(const RocksVault&) = delete;

  kv::Kv& tables() override;
  Task<Status> flush() override;
  Task<Result<Snapshot>> open_snapshot(std::uint64_t resume) override;
  Task<Result<std::string>> read_snapshot(std::uint64_t id, std::uint32_t file, ByteCount offset,
                                          ByteCount bytes) override;
  Task<Result<std::vector<ByteCount>>> begin_incoming(Snapshot snapshot) override;
  Task<Status> write_incoming(std::uint32_t file, ByteCount offset, std::string bytes) override;
  std::uint64_t incoming_id() const override { return incoming_id_; }
  Task<Status> install_incoming() override;
  Task<Result<std::uint32_t>> digest() override;
  Task<void> stop() override;

  // Of the present tables; nothing while they are being replaced.
  std::optional<kv::RocksKv::Stats> stats() const;

 private:
  // For others.
  struct Served {
    Snapshot snapshot;
    disk::Path directory;
    Instant made;
    Instant last_use;
  };
  // Answers kDiskFailed to everything: stands in for tables that are closed.
  class ClosedKv;
  // One task of the vault; stop() waits for all, install for those that use the tables.
  class Use;

  RocksVault(runtime::Runtime& runtime, observe::Log& log, disk::Path repository, Options options);
  Status open_all();
  bool usable() const { return tables_ != nullptr && !stopping_ && !replacing_; }
  Status refused() const;
  disk::Path snapshots() const { return repository_ / "snapshots"; }
  static Task<void> make_served(RocksVault* self, runtime::Semaphore::Permit guard);
  Task<Status> make_snapshot();
  Task<void> drop_served();
  static Task<void> drop_when_idle(RocksVault* self);
  void arm_drop_timer();
  Task<Status> verify_incoming();
  Task<Status> replace_tables();
  // On the file thread.
  Result<std::unique_ptr<kv::RocksKv>> swap_and_open(std::unique_ptr<kv::RocksKv> old);
  Task<Status> forget_incoming();
  void note_incoming();

  runtime::Runtime& runtime_;
  observe::Log& log_;
  const disk::Path repository_;
  const Options options_;
  std::unique_ptr<ClosedKv> closed_;
  std::unique_ptr<kv::RocksKv> tables_;
  runtime::TaskGroup tasks_;
  runtime::Mutex serving_;  // making and dropping `served_`
  std::optional<Served> served_;
  runtime::TimerId drop_timer_ = 0;
  runtime::Mutex receiving_;  // calls that concern the incoming snapshot
  IncomingStore incoming_;    // of the file thread after open()
  std::uint64_t incoming_id_ = 0;
  std::size_t running_ = 0;            // tasks
  std::size_t using_ = 0;              // of them, those that use `tables_`
  std::size_t digests_ = 0;            // of them
  runtime::Signal ended_;              // one of them
  std::atomic<bool> ending_{false};    // the threads shall end what they do
  std::atomic<bool> yielding_{false};  // they shall let go of the tables
  bool replacing_ = false;
  bool stopping_ = false;
  HelperThread flushes_;
  HelperThread digesting_;
  HelperThread files_;
};

}  // namespace cairn::mds::replication
