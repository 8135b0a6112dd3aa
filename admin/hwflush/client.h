// The client of hwflush-check: compares what the device has with what the server was told, then
// writes, flushes and tells until it is stopped.
//
// Promises: a counter is told only after the device said that it is flushed; when the server is
//           gone the check ends and says so.
// Errors:   those of TestDirectory, CounterFile, Reporter and resolve(). A device that lost data is
//           no error of run_client: see ClientEnd.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "admin/hwflush/comparison.h"
#include "admin/hwflush/counter_file.h"
#include "admin/hwflush/limits.h"
#include "common/base/result.h"

namespace cairn::admin::hwflush {

struct ClientOptions {
  std::string server;  // "SERVER[:PORT]"
  std::string directory;
  std::uint32_t threads = kThreadsDefault;
  std::optional<std::chrono::seconds> seconds;  // nullopt: until stopped
  std::uint32_t file_mb = kFileMbDefault;
  WriteMode mode = WriteMode::kDirect;
  bool fresh = false;  // forget the counters on the device and at the server
};

struct ClientEnd {
  KnownBy by = KnownBy::kNothing;
  Comparison comparison;      // not good(): the device lost data, and nothing was written
  std::uint64_t flushes = 0;  // done and told in this run
  double seconds = 0;
};

using Say = std::function<void(const std::string& lines)>;

Result<ClientEnd> run_client(const ClientOptions& options, const Say& say);

}  // namespace cairn::admin::hwflush
