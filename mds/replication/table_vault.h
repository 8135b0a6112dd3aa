// TableVault: the tables of one MDS with everything that concerns them as a whole: making them
// durable, snapshots of them for others, replacing them by somebody else's snapshot, digests.
// RocksVault (rocks_vault.h) in the daemon, MemVault (mem_vault.h) in tests and the simulator.
//
// Owns:     the tables; at most one snapshot for others, and one incoming snapshot.
// Promises: install() replaces the tables at once: a crash leaves the old ones or the new ones. A
//           snapshot does not stop writers. An incoming snapshot that was not finished goes on
//           where it was, also after a restart.
// Requires: the loop thread; co_await stop() before it dies. Nothing uses `tables()` of before
//           while install() runs and after it. Slow work runs on a helper thread.
// Errors:   kDiskFailed, kNoSpace, kCorrupt, kNotFound (no such snapshot any more).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "common/kv/kv.h"
#include "common/runtime/task.h"

namespace cairn::mds::replication {

struct SnapshotFile {
  std::string name;  // no path
  ByteCount bytes = 0;
  std::uint32_t crc32c = 0;
  friend bool operator==(const SnapshotFile&, const SnapshotFile&) = default;
};
struct Snapshot {
  std::uint64_t id = 0;  // random; names this snapshot for resuming
  Slot applied;
  std::string membership;  // paxos::encode_membership of the tables at `applied`
  std::vector<SnapshotFile> files;
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

class TableVault {
 public:
  virtual ~TableVault() = default;
  virtual kv::Kv& tables() = 0;
  // Everything written before the call is durable after it. One at a time.
  virtual Task<Status> flush() = 0;

  // ---- for others ----
  // The present tables as files; the one of before if its id is `resume` or it is younger than a
  // minute. Dropped when nobody has read from it for a minute. kBusy: it is being made, ask again.
  virtual Task<Result<Snapshot>> open_snapshot(std::uint64_t resume) = 0;
  virtual Task<Result<std::string>> read_snapshot(std::uint64_t id, std::uint32_t file,
                                                  ByteCount offset, ByteCount bytes) = 0;

  // ---- from others ----
  // Begins or goes on with an incoming snapshot: how many bytes of each file are here already.
  // Another id than before: begins anew.
  virtual Task<Result<std::vector<ByteCount>>> begin_incoming(Snapshot snapshot) = 0;
  // Appends at the end of a file: `offset` is what is there.
  virtual Task<Status> write_incoming(std::uint32_t file, ByteCount offset, std::string bytes) = 0;
  // The id of an unfinished incoming snapshot; 0: none.
  virtual std::uint64_t incoming_id() const = 0;
  // Verifies all files, makes them durable, replaces the tables. kCorrupt: the incoming snapshot is
  // thrown away, the tables are as before.
  virtual Task<Status> install_incoming() = 0;

  // The digest of the tables as they are at the call (Machine::digest), computed beside whatever is
  // written later.
  virtual Task<Result<std::uint32_t>> digest() = 0;

  // Ends the helper. Unfinished work is given up with kCancelled.
  virtual Task<void> stop() = 0;
};

}  // namespace cairn::mds::replication
