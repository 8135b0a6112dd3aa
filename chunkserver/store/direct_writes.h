// DirectWrites: blocks on their way straight to their homes in the data file.
//
// Owns:     the memory that the device looks at, until the device lets go.
// Promises: write() ends when all of its blocks are written (not: durable), or at once with the
//           error of abort(), also when the device hangs. stop() waits for what is under way, and
//           gives what was given up kStopGrace to come back.
// Requires: the loop thread; homes in fresh space; stop() before it dies. What still hangs after
//           stop() needs the device and the runtime: to the end of the process.
// Limits:   none of its own: the caller bounds the bytes under way.
// Errors:   those of the device.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/types.h"
#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::store {

class DirectWrites {
 public:
  static constexpr Duration kStopGrace = 1s;

  DirectWrites(runtime::Runtime& runtime, io::BlockDevice& device);
  ~DirectWrites();

  // `body`: the blocks of the extents, in order.
  Task<Status> write(std::vector<Extent> extents, Buffer body);
  void abort(const Error& error);
  Task<void> stop();

 private:
  struct Flight;
  static Task<void> write_part(std::shared_ptr<Flight> flight, runtime::Runtime* runtime,
                               io::BlockDevice* device, io::DeviceWrite write);

  runtime::Runtime& runtime_;
  io::BlockDevice& device_;
  std::list<std::shared_ptr<Flight>> flights_;  // after a failure also those that were given up
  std::optional<Error> failure_;
  runtime::Signal changed_;
};

}  // namespace cairn::chunkserver::store
