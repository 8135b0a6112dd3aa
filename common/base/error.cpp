#include "common/base/error.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace cairn {
namespace {

struct Row {
  Code code;
  std::string_view name;
  int errno_value;
  RetryClass retry;
};

using enum Code;
using enum RetryClass;

constexpr std::array kTable = {
    Row{kInvalidArgument, "invalid argument", EINVAL, kNever},
    Row{kUnsupported, "not supported", EOPNOTSUPP, kNever},
    Row{kInternal, "internal error", EIO, kNever},
    Row{kNotFound, "not found", ENOENT, kNever},
    Row{kExists, "exists", EEXIST, kNever},
    Row{kNotDirectory, "not a directory", ENOTDIR, kNever},
    Row{kIsDirectory, "is a directory", EISDIR, kNever},
    Row{kNotEmpty, "directory not empty", ENOTEMPTY, kNever},
    Row{kNameTooLong, "name too long", ENAMETOOLONG, kNever},
    Row{kNotPermitted, "not permitted", EPERM, kNever},
    Row{kAccessDenied, "access denied", EACCES, kNever},
    Row{kNoAttribute, "no such attribute", ENODATA, kNever},
    Row{kTooManyLinks, "too many links", EMLINK, kNever},
    Row{kFileTooBig, "file too big", EFBIG, kNever},
    Row{kRangeTooSmall, "buffer too small", ERANGE, kNever},
    Row{kStaleHandle, "stale handle", ESTALE, kNever},
    Row{kBusy, "busy", EBUSY, kNever},
    Row{kReadOnly, "read-only", EROFS, kNever},
    Row{kInvalidName, "invalid name", EINVAL, kNever},
    Row{kTooBig, "too big", E2BIG, kNever},
    Row{kNotMaster, "not the master", EIO, kRefresh},
    Row{kStaleEpoch, "stale epoch", EIO, kRefresh},
    Row{kLeaseExpired, "lease expired", EIO, kRefresh},
    Row{kSessionGone, "session gone", EIO, kNever},
    Row{kNotAuthenticated, "not authenticated", EACCES, kNever},
    Row{kWrongCluster, "wrong cluster", EIO, kNever},
    Row{kRefusedForSafety, "refused for safety", EPERM, kNever},
    Row{kNoMajority, "no majority", EIO, kSame},
    Row{kChecksumMismatch, "checksum mismatch", EIO, kElsewhere},
    Row{kTooFewPieces, "too few pieces", EIO, kSame},
    Row{kNoSpace, "no space", ENOSPC, kSame},
    Row{kDiskFailed, "disk failed", EIO, kElsewhere},
    Row{kPieceMissing, "piece missing", EIO, kElsewhere},
    Row{kStaleVersion, "stale version", EIO, kRefresh},
    Row{kCorrupt, "corrupt", EIO, kNever},
    Row{kBelowMinimum, "below the minimum", EIO, kSame},
    Row{kJournalFailed, "journal failed", EIO, kElsewhere},
    Row{kTimeout, "timeout", ETIMEDOUT, kUnknownOutcome},
    Row{kUnavailable, "unavailable", EIO, kSame},
    Row{kOverloaded, "overloaded", EAGAIN, kSame},
    Row{kCancelled, "cancelled", EINTR, kNever},
    Row{kConnectionLost, "connection lost", EIO, kUnknownOutcome},
    Row{kProtocol, "protocol error", EIO, kNever},
};

const Row* find(std::uint32_t raw) {
  const auto it = std::ranges::find_if(
      kTable, [raw](const Row& row) { return static_cast<std::uint32_t>(row.code) == raw; });
  return it == kTable.end() ? nullptr : &*it;
}

}  // namespace

RetryClass Error::retry_class() const {
  const Row* row = find(static_cast<std::uint32_t>(code_));
  return row == nullptr ? kNever : row->retry;
}

int Error::to_errno() const {
  const Row* row = find(static_cast<std::uint32_t>(code_));
  return row == nullptr ? EIO : row->errno_value;
}

std::string Error::to_string() const {
  std::string text(code_name(code_));
  text += " (" + std::to_string(static_cast<unsigned>(code_)) + ")";
  if (!message_.empty()) text += ": " + message_;
  return text;
}

std::string_view code_name(Code code) {
  const Row* row = find(static_cast<std::uint32_t>(code));
  return row == nullptr ? "unknown error" : row->name;
}

bool is_known_code(std::uint32_t raw) { return find(raw) != nullptr; }

}  // namespace cairn
