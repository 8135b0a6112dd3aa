// RingDevice: the ring of the journal as a range of some device, and the ways to make, open and
// remove one.
//
// Owns:     the device of a ring file; of a ring in the data file nothing.
// Requires: the loop thread; it outlives every task on it, also one that hangs.
// Errors:   kJournalFailed for all that goes wrong with a ring file (kNoSpace: it cannot be made so
//           large); kDiskFailed, kCorrupt, kNoSpace for one in the data file.
#pragma once

#include <functional>
#include <memory>

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/superblock.h"
#include "common/runtime/runtime.h"

namespace cairn::chunkserver::store {

inline constexpr std::string_view kRingFileName = "cairn-journal";

// Opens "DIRECTORY/cairn-journal". `create`: makes the file if it is absent (never the directory).
using OpenRing = std::function<Result<std::unique_ptr<io::BlockDevice>>(
    const std::string& directory, bool create)>;
// Removes that file; nothing to do when it is absent.
using RemoveRing = std::function<Status(const std::string& directory)>;

class RingDevice {
 public:
  // `data` outlives it. The ring is not looked at.
  RingDevice(io::BlockDevice& data, RingPlace place, std::unique_ptr<io::BlockDevice> own);
  const RingPlace& place() const { return place_; }
  std::uint64_t blocks() const { return place_.blocks; }
  bool shares_data_device() const { return own_ == nullptr; }
  // Blocks of the ring, relative.
  Task<Status> read(std::uint64_t block, MutableBytes into);
  io::DeviceWrite write_of(std::uint64_t block, std::vector<Bytes> parts) const;
  // The writes, then one flush of device(). They are of write_of(), or, when the ring is in the
  // data file, of any place in it.
  Task<Status> write_durably(std::vector<io::DeviceWrite> writes);
  // Promises nothing of earlier writes.
  Task<Status> write_through(io::DeviceWrite write);
  Task<Status> flush();
  io::BlockDevice& device() { return own_ != nullptr ? *own_ : data_; }
  // "the journal FILE" or "the journal in the data file", for messages.
  std::string name() const;
  // The ring is not what it should be: kJournalFailed or kCorrupt, with what to do about it.
  Error damage(const std::string& what) const;

 private:
  Status translate(Status status) const;

  io::BlockDevice& data_;
  RingPlace place_;
  std::unique_ptr<io::BlockDevice> own_;
};

// Opens the ring that the superblock names and checks its header.
Task<Result<std::unique_ptr<RingDevice>>> open_ring(io::BlockDevice* data, RingPlace place,
                                                    std::uint64_t store_id, const OpenRing* open);
// Makes it: zeros over all of it, then the header, then a flush. In the data file the space must be
// there and free. A file that is there already is made again when it is one of this store (an
// unfinished one), else refused; so is the file of the ring `in_use`, whatever name its directory
// was given by (kInvalidArgument; 0: there is none).
Task<Result<std::unique_ptr<RingDevice>>> make_ring(runtime::Runtime* runtime,
                                                    io::BlockDevice* data, RingPlace place,
                                                    std::uint64_t store_id, const OpenRing* open,
                                                    std::uint64_t in_use = 0);
// The file of a ring that was given up goes, if it is still that ring: the directory may have been
// given to another store. One that cannot be looked at stays: its drive may come back.
Task<Status> remove_old_ring(RingPlace place, std::uint64_t store_id, const OpenRing* open,
                             const RemoveRing* remove);

}  // namespace cairn::chunkserver::store
