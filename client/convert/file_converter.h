// FileConverter: one file brought into another encoding: shadow, rounds of copying, the file held
// still, swap (docs/protocols/conversion.md, "One file").
//
// Promises: until the swap the file is only read. Others wait for it at most kHoldTime (and the
//           time of a swap). Whatever way run() ends, shadow and leases were given back.
// Requires: the loop thread; the mount is started, and not stopped before run() ended unless run()
//           is to end with that. run() once.
// Limits:   kUnitsAtOnce units of kUnitBytes that are read and not yet in the mount's cache.
// Errors:   of run(): the file was not converted, and why; kTimeout and kSessionGone: or it was,
//           the master knows. kCancelled after cancel(), kBusy: too much is changed all the time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "client/convert/copy_plan.h"
#include "client/core/conversion_port.h"
#include "client/core/file_system.h"
#include "common/observe/log.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::client::convert {

inline constexpr ByteCount kUnitBytes = 4_MiB;
inline constexpr std::uint64_t kUnitsAtOnce = 4;
inline constexpr ByteCount kHeldBytesMax = 1_GiB;  // copied while the file is held still
inline constexpr Duration kHoldTime = 10s;
inline constexpr Duration kWholeWait = 60s;  // for the repair of a shadow that lost pieces
inline constexpr unsigned kHoldsMost = 3;

class FileConverter {
 public:
  FileConverter(runtime::Runtime& runtime, observe::Log& log, FileSystem& file_system,
                ConversionPort& port, InodeId source);
  FileConverter(const FileConverter&) = delete;
  FileConverter& operator=(const FileConverter&) = delete;

  Task<Status> run();
  // run() ends soon.
  void cancel();

  InodeId source() const { return source_; }
  // Of the session that it began in: with another one its work counts for nothing.
  std::uint64_t generation() const { return generation_; }
  // For people: bytes up to date of those of the file.
  ByteCount bytes_done() const;
  ByteCount bytes_total() const { return size_; }
  ByteCount bytes_copied() const { return copied_; }

 private:
  enum class Held { kSwapped, kAgain };

  Status check() const;
  Task<Status> convert();
  Task<Status> copy_in_rounds();
  // Copies what is not up to date; how many ranges.
  Task<Result<std::uint64_t>> copy_round();
  Task<Result<std::vector<RangeWork>>> look(std::uint64_t* cursor);
  Status accept_layout(const pb::Layout& layout);
  Task<Status> fit_size(ByteCount size);
  Task<Status> bring_up(RangeWork work);
  Task<Status> copy_range(std::uint64_t index);
  Task<void> copy_unit(std::uint64_t at, ByteCount length, Status* status,
                       runtime::Semaphore::Permit permit);
  Task<Status> copy_bytes(std::uint64_t at, ByteCount length);
  Task<Status> zero_range(std::uint64_t index);
  Task<Status> wait_whole();
  Task<Result<bool>> is_whole();
  Task<Result<Held>> hold_and_swap();
  Task<Status> copy_rest();
  Task<void> watch_hold(Deadline deadline, std::uint64_t number);
  Task<void> pause(Duration time);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  FileSystem& file_system_;
  ConversionPort& port_;
  const InodeId source_;
  const std::uint64_t generation_;
  runtime::Semaphore slots_;
  runtime::TaskGroup tasks_;
  Event changed_;
  bool cancelled_ = false;

  InodeId shadow_;
  std::optional<pb::Layout> layout_;  // of the source, since the first look
  std::optional<CopyPlan> plan_;
  std::optional<WrittenParts> written_;
  ByteCount size_ = 0;      // of the shadow
  bool unsettled_ = false;  // the shadow was changed since it was settled
  FileHold hold_;
  bool holding_ = false;           // copying under hold_
  std::uint64_t hold_number_ = 0;  // grows when a hold begins and when it ends
  ByteCount position_ = 0;         // in the first round; then the size
  ByteCount copied_ = 0;
};

}  // namespace cairn::client::convert
