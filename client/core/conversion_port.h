// ConversionPort: what a converter of files (client/convert) needs of a mount beyond FileSystem:
// shadows, looks at chunks, and a file held still although nothing is written
// (docs/protocols/conversion.md).
//
// Requires: the loop thread; a session with Options::converter. Every FileHold ends before the
//           mount dies.
// Errors:   those of the requests; kTimeout while the master does not answer; kLeaseExpired: the
//           hold is over, whatever was done under it counts for nothing.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "client/core/lease_keeper.h"

namespace cairn::client {

// The exclusive lease of a file, in use while this lives: a recall waits for its end.
class FileHold {
 public:
  FileHold() = default;
  FileHold(InodePtr inode, Usage usage)
      : serial_(inode->serial), inode_(std::move(inode)), usage_(std::move(usage)) {}
  FileHold(FileHold&& other) noexcept = default;
  FileHold& operator=(FileHold&& other) noexcept = default;

  bool held() const { return inode_ != nullptr; }
  void end() {
    usage_.end();
    inode_ = nullptr;
  }
  const InodePtr& inode() const { return inode_; }
  std::uint64_t serial() const { return serial_; }  // of the lease

 private:
  std::uint64_t serial_ = 0;
  InodePtr inode_;
  Usage usage_;
};

class ConversionPort {
 public:
  // The chunks of a file as the master's map has them, and its size.
  struct Look {
    ByteCount size = 0;
    pb::GetChunksReply map;
  };

  virtual ~ConversionPort() = default;

  // Grows when the session ended: leases are void, shadows are purged, the file is given back.
  virtual std::uint64_t session_generation() const = 0;
  virtual Task<Result<pb::NextConversionReply>> next_conversion(pb::NextConversion tell) = 0;

  // Open for writing until drop_shadow().
  virtual Task<Result<InodeId>> make_shadow(InodeId source) = 0;
  // What it has is dropped; the master purges what has no other holder.
  virtual void drop_shadow(InodeId shadow) = 0;
  // Everything written is durable and told, and the lease given back: its chunks are settled.
  virtual Task<Status> settle_shadow(InodeId shadow) = 0;
  // Without a lease. From index `first` on.
  virtual Task<Result<pb::GetChunksReply>> chunks_of(InodeId file, std::uint64_t first,
                                                     std::uint32_t count) = 0;

  // Under a shared lease, or under `hold` unless it is null. Chunks from index `first` on.
  virtual Task<Result<Look>> look(InodeId source, std::uint64_t first, std::uint32_t count,
                                  const FileHold* hold) = 0;
  virtual Task<Result<std::vector<Buffer>>> read_source(InodeId source, FileOffset offset,
                                                        ByteCount length, const FileHold* hold) = 0;
  virtual Task<Result<FileHold>> hold_still(InodeId source) = 0;
  // The lease goes back, nothing that was known of the file is kept. Ends `hold`, if any.
  virtual void let_go(InodeId source, FileHold* hold) = 0;
  // Ends the hold in any case. kTimeout, kSessionGone: it may have been done.
  virtual Task<Status> swap(FileHold* hold, InodeId shadow) = 0;
};

}  // namespace cairn::client
