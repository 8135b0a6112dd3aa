// REPO/cs.conf: who a chunk server is, and how it is to run. JSON, written by `cairn make-cs`,
// changed only by who holds the repository's lock. docs/formats/repository.md.
//
// Errors: kNotFound (no such file: not a repository), kCorrupt (not ours, or a newer format),
//         kNotEmpty (create() in a directory that holds something else).
#pragma once

#include <optional>
#include <string>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/base/units.h"
#include "common/net/stream.h"

namespace cairn::cluster {

// What the store's times and sizes are chosen for.
enum class Tune { kHdd, kSsd };
const char* tune_word(Tune tune);  // "hdd", "ssd"
std::optional<Tune> parse_tune(std::string_view word);

inline constexpr ByteCount kJournalBytesMin = 32_MiB;
inline constexpr ByteCount kJournalBytesMax = 256 * 1024_MiB;
inline constexpr ByteCount kJournalBytesDefault = 64_MiB;

// The journal of a store that is not made yet. Where that of a store is says the store itself.
struct JournalWish {
  bool on = true;
  std::string directory = {};  // empty: in the repository
  ByteCount bytes = kJournalBytesDefault;
  friend bool operator==(const JournalWish&, const JournalWish&) = default;
};

// What the ten-second check of make-cs found.
struct FlushCheck {
  bool suspicious = false;
  std::uint64_t flushes_per_second = 0;
  std::int64_t checked_at_ns = 0;  // wall clock
  friend bool operator==(const FlushCheck&, const FlushCheck&) = default;
};

struct CsRepository {
  std::string cluster;
  ClusterId cluster_id;
  NodeId cs_id;
  std::uint64_t repo_uuid = 0;
  HostId host_id;
  std::string host;
  net::Address address;  // port 0: any, reported to the MDS at each start
  std::uint32_t tier = 0;
  ByteCount size_bytes = 0;  // 0: whatever the filesystem has
  bool checksums = true;     // verified on every read; they are kept in any case
  Tune tune = Tune::kHdd;
  JournalWish journal = {};
  std::optional<FlushCheck> flush_check = {};  // nullopt: never checked

  // Formats 1 and 2. Format 1 ends with size_bytes; the rest is as above.
  static Result<CsRepository> load(const std::string& directory);
  // Makes the directory if needed; durable when it returns. A file `except` may be there. Writes
  // format 2.
  Status create(const std::string& directory, std::string_view except = {}) const;
  // Replaces REPO/cs.conf durably. Requires: the repository's lock.
  Status save(const std::string& directory) const;
  friend bool operator==(const CsRepository&, const CsRepository&) = default;
};

}  // namespace cairn::cluster
