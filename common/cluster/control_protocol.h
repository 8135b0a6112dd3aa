// What is said through the control door of a running cairn-csd: one JSON object a line, requests
// one way, answers the other. Pure. Whoever may open REPO/control (root, the daemon's user) may
// ask.
//
//   {"op": "status"}
//   {"op": "journal", "on": true, "directory": "/ssd/cs1", "mb": 2048, "timeout_s": 600}
//   {"op": "commit", "timeout_s": 600}
//   {"op": "tune", "tune": "ssd"}
//   {"op": "fault", "device": "data", "plan": "stall=on"}     only with --allow-faults
//
// Answers: {"progress": {...}} any number of times, then {"ok": true, "state": {...}} or
// {"ok": false, "code": 402, "message": "..."}.
//
// Limits:   kControlLineMax bytes a line; names and sizes as in the checks of parse_request().
// Errors:   kInvalidArgument (no JSON, a wrong, missing or surplus field), kUnsupported (op).
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "common/base/result.h"
#include "common/base/units.h"
#include "common/cluster/cs_repository.h"

namespace cairn::cluster::control {

using Json = nlohmann::ordered_json;

inline constexpr std::size_t kControlLineMax = 64 * 1024;
inline constexpr std::size_t kDirectoryMax = 3072;
inline constexpr std::size_t kPlanMax = 1024;
inline constexpr std::chrono::seconds kControlTimeoutDefault{600};
inline constexpr std::chrono::seconds kControlTimeoutMax{7 * 24 * 3600};

struct StatusRequest {
  friend bool operator==(const StatusRequest&, const StatusRequest&) = default;
};
struct JournalRequest {
  bool on = true;
  std::string directory;  // absolute; empty: in the repository
  ByteCount bytes = 0;
  std::chrono::seconds timeout = kControlTimeoutDefault;
  friend bool operator==(const JournalRequest&, const JournalRequest&) = default;
};
struct CommitRequest {
  std::chrono::seconds timeout = kControlTimeoutDefault;
  friend bool operator==(const CommitRequest&, const CommitRequest&) = default;
};
struct TuneRequest {
  Tune tune = Tune::kHdd;
  friend bool operator==(const TuneRequest&, const TuneRequest&) = default;
};
struct FaultRequest {
  enum class Device { kData, kJournal };
  Device device = Device::kData;
  std::string plan;
  friend bool operator==(const FaultRequest&, const FaultRequest&) = default;
};
using Request =
    std::variant<StatusRequest, JournalRequest, CommitRequest, TuneRequest, FaultRequest>;

Result<Request> parse_request(std::string_view line);
// With the line break.
std::string encode(const Request& request);

// One line of the other way.
struct Answer {
  bool last = false;
  Json content;  // progress or state
};
// Error: that of the daemon, kProtocol.
Result<Answer> parse_answer(std::string_view line);

std::string progress_line(const Json& progress);
std::string success_line(const Json& state);
std::string failure_line(const Error& error);

}  // namespace cairn::cluster::control
