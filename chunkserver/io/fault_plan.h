// FaultPlan: how a FaultDevice is to misbehave, and its text:
//
//   none                        behaves well
//   read-delay=2ms              every read takes that much longer (us, ms, s); write-delay,
//                               flush-delay alike
//   serial=on                   one request at a time, as on a spinning disk: the delays add up
//   bandwidth=50M               bytes per second of reads and writes together (K, M, G: 1024)
//   fail=reads,writes,flushes   all requests of these kinds fail with EIO
//   fail-range=FIRST+COUNT      reads that touch these 4 KiB blocks fail: a bad spot of the disk,
//                               which writing does not cure
//   stall=on                    requests wait until the plan is changed: a disk that hangs
//
// Words are separated by blanks; each at most once. A plan is set as a whole.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/units.h"

namespace cairn::chunkserver::io {

struct FaultPlan {
  Duration read_delay = {};
  Duration write_delay = {};
  Duration flush_delay = {};
  bool serial = false;
  ByteCount bandwidth = 0;  // 0: no limit
  bool fail_reads = false;
  bool fail_writes = false;
  bool fail_flushes = false;
  std::uint64_t fail_first = 0;  // blocks
  std::uint64_t fail_count = 0;
  bool stall = false;

  friend bool operator==(const FaultPlan&, const FaultPlan&) = default;

  // Error: kInvalidArgument, with the word that is not understood.
  static Result<FaultPlan> parse(std::string_view text);
  std::string to_text() const;
  bool none() const { return *this == FaultPlan(); }
};

}  // namespace cairn::chunkserver::io
