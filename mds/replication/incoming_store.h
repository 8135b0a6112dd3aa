// IncomingStore: somebody else's snapshot while it arrives, on disk: REPO/incoming/manifest says
// what is to come, REPO/incoming/db/ has the files so far. Format: docs/formats/repository.md.
//
// Promises: what was begun goes on after a restart with the bytes that are there; nothing outside
//           REPO/incoming is touched. Nothing is written that the disk has no room for.
// Requires: one thread at a time; blocks on the disk.
// Errors:   kNoSpace, kDiskFailed, kCorrupt (bad snapshot, or bytes that do not match it),
//           kInvalidArgument (a write that does not fit), kCancelled.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "mds/replication/disk_files.h"
#include "mds/replication/table_vault.h"

namespace cairn::mds::replication {

class IncomingStore {
 public:
  // `free_bytes` says how much the disk could take; `reserve` of it is left to others.
  IncomingStore(disk::Path repository, std::function<Result<ByteCount>()> free_bytes,
                ByteCount reserve);

  // Finds what an earlier life left; what cannot be gone on with is removed.
  Status load();
  Result<std::vector<ByteCount>> begin(const Snapshot& snapshot);
  Status write(std::uint32_t file, ByteCount offset, std::string_view bytes);
  // Everything is there, as the manifest says, and durable.
  Status verify(const std::atomic<bool>& stop) const;
  Status discard();

  const std::optional<Snapshot>& snapshot() const { return snapshot_; }
  disk::Path directory() const { return root_ / "db"; }

 private:
  Status load_manifest();
  Status measure();
  Status start_anew(const Snapshot& snapshot);
  Status check_space(ByteCount bytes) const;
  disk::Path path_of(std::size_t file) const { return directory() / snapshot_->files[file].name; }

  const disk::Path root_;
  const std::function<Result<ByteCount>()> free_bytes_;
  const ByteCount reserve_;
  std::optional<Snapshot> snapshot_;
  std::vector<ByteCount> here_;
  ByteCount unsynced_ = 0;
};

}  // namespace cairn::mds::replication
