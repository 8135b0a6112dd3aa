// BlockDevice: one flat range of bytes that keeps them. The only door of the chunk server to a
// disk.
//
// Promises: a write is durable when a flush() that was begun after the write ended has ended.
//           Unflushed writes may be lost, kept or torn by a loss of power, in any order: between
//           blocks of 4 KiB, and between sectors of 512 bytes where the disk has those. After a
//           failed write or flush everything fails with kDiskFailed: the state of the disk is
//           unknown and nobody may build on it (fenced). A failed read fences nothing.
//           write_durably() is write() of everything and then flush(), in fewer turns at the disk:
//           when it ended its writes and all that had ended before it began are durable.
// Requires: offset, length and memory address of every part are multiples of 4 KiB; the range lies
//           inside size(); the memory stays valid until the task ends; overlapping reads and writes
//           are not in flight together. The loop thread; every task ended before the device dies.
// Limits:   kDeviceRequestsMax requests are handed to the disk at a time, the rest wait in line.
// Errors:   kInvalidArgument (alignment, range), kDiskFailed, kNoSpace (grow only).
#pragma once

#include <string>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

namespace cairn::chunkserver::io {

inline constexpr std::size_t kDeviceRequestsMax = 256;
// Parts of one write: below IOV_MAX.
inline constexpr std::size_t kDevicePartsMax = 512;

struct DeviceWrite {
  DiskOffset offset;
  std::vector<Bytes> parts;
};

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  BlockDevice(const BlockDevice&) = delete;
  BlockDevice& operator=(const BlockDevice&) = delete;
  virtual ByteCount size() const = 0;
  // Size of the filesystem (or disk) it lies on, other files included.
  virtual ByteCount space() const = 0;
  // Past the page cache (O_DIRECT).
  virtual bool direct() const = 0;
  // What grow() may reach now: the free space of the filesystem less its reserve.
  virtual ByteCount size_limit() const = 0;
  virtual Task<Status> read(DiskOffset offset, MutableBytes into) = 0;
  virtual Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) = 0;
  virtual Task<Status> flush() = 0;
  // The writes go in parallel and must not overlap; none at all is a flush. Nothing is written when
  // one of them is refused (kInvalidArgument); after any other error any part of them may be there.
  virtual Task<Status> write_durably(std::vector<DeviceWrite> writes);
  // One write that is durable when it has ended; of earlier writes it promises nothing. Overlapping
  // writes must have ended before.
  virtual Task<Status> write_through(DeviceWrite write);
  // The bytes are not needed any more: they read as zeros or as before (a raw disk may give back
  // anything).
  virtual Task<Status> discard(DiskOffset offset, ByteCount length) = 0;
  // Makes room up to `size`; the new bytes read as zeros. Never shrinks. A raw block device has its
  // full size from the beginning, and what it held before. Error: kNoSpace, which fences nothing.
  virtual Task<Status> grow(ByteCount size) = 0;
  // "io_uring", "threads", "memory".
  virtual std::string engine() const = 0;
  // Why it is that engine and not a better one; empty when there is nothing to tell.
  virtual std::string engine_note() const { return {}; }

 protected:
  explicit BlockDevice(runtime::Runtime& runtime) : runtime_(runtime) {}
  runtime::Runtime& runtime() const { return runtime_; }

 private:
  runtime::Runtime& runtime_;
};

ByteCount total_bytes(const std::vector<Bytes>& parts);
// The rules of Requires. Error: kInvalidArgument.
Status check_read(const BlockDevice& device, DiskOffset offset, MutableBytes into);
Status check_write(const BlockDevice& device, DiskOffset offset, const std::vector<Bytes>& parts);
Status check_writes(const BlockDevice& device, const std::vector<DeviceWrite>& writes);

}  // namespace cairn::chunkserver::io
