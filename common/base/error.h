// Error: what went wrong, as a stable code, a retry class and one sentence for a person.
//
// Codes travel on the wire and in the log: numbers are never reused. Ranges: 1xx argument and bug,
// 2xx namespace (maps to errno), 3xx control, 4xx data, 5xx transport. A code exists only if some
// caller branches on it; detail goes into the message.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>

namespace cairn {

enum class Code : std::uint16_t {
  kInvalidArgument = 100,
  kUnsupported = 101,
  kInternal = 102,

  kNotFound = 200,
  kExists = 201,
  kNotDirectory = 202,
  kIsDirectory = 203,
  kNotEmpty = 204,
  kNameTooLong = 205,
  kNotPermitted = 206,
  kAccessDenied = 207,
  kNoAttribute = 208,
  kTooManyLinks = 209,
  kFileTooBig = 210,
  kRangeTooSmall = 211,
  kStaleHandle = 212,
  kBusy = 213,
  kReadOnly = 214,
  kInvalidName = 215,
  kTooBig = 216,

  kNotMaster = 300,
  kStaleEpoch = 301,
  kLeaseExpired = 302,
  kSessionGone = 303,
  kNotAuthenticated = 304,
  kWrongCluster = 305,
  kRefusedForSafety = 306,
  kNoMajority = 307,

  kChecksumMismatch = 400,
  kTooFewPieces = 401,
  kNoSpace = 402,
  kDiskFailed = 403,
  kPieceMissing = 404,
  kStaleVersion = 405,
  kCorrupt = 406,
  kBelowMinimum = 407,
  kJournalFailed = 408,  // the write journal's drive failed, or the journal is lost or damaged

  kTimeout = 500,
  kUnavailable = 501,
  kOverloaded = 502,
  kCancelled = 503,
  kConnectionLost = 504,
  kProtocol = 505,
};

// Decides the retry loop, in one place (client/core/retry).
enum class RetryClass : std::uint8_t {
  kNever,           // the answer will not change
  kSame,            // back off, ask the same peer
  kElsewhere,       // ask another peer
  kRefresh,         // our map or our idea of the master is stale
  kUnknownOutcome,  // it may have happened: retry only with the same RequestId
};

class [[nodiscard]] Error {
 public:
  explicit Error(Code code, std::string message = {},
                 std::source_location where = std::source_location::current())
      : code_(code), message_(std::move(message)), where_(where) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  RetryClass retry_class() const;
  // The errno a system call should return for this error. Never 0.
  int to_errno() const;
  // "timeout (500): no answer from CS 1028 in 2 s".
  std::string to_string() const;
  const std::source_location& where() const { return where_; }

  friend bool operator==(const Error& a, const Error& b) { return a.code_ == b.code_; }

 private:
  Code code_;
  std::string message_;
  std::source_location where_;
};

std::string_view code_name(Code code);
// False for a number no version of Cairn has used: the peer is newer or the bytes are bad.
bool is_known_code(std::uint32_t raw);

}  // namespace cairn
