// ConversionBoard: which files wait for a conversion, who converts which, how far that is, which
// ones failed and wait. docs/protocols/conversion.md, "Queue". Pure memory; time enters as an
// argument.
//
// Promises: a file has one converter at most, a converter one file; the oldest file that may be
//           tried is handed out first. One that failed waits kWaitFirst, then twice as long each
//           time, kWaitMost at most; not if it was queued anew meanwhile.
// Requires: the rows of the table from time to time: begin_scan(), saw() for each, end_scan().
//           Between two scans a row may be stale: whoever hands out looks at the table, and says
//           vanished().
// Limits:   kWindowMax of the oldest files that may be tried are known by name, kTroublesMax that
//           failed (those whose wait ends first are forgotten); the rest are a number.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/base/time.h"
#include "mds/master/rate_window.h"
#include "proto/types.pb.h"

namespace cairn::mds::master {

bool same_encoding(const pb::Encoding& a, const pb::Encoding& b);

class ConversionBoard {
 public:
  static constexpr std::size_t kWindowMax = 4096;
  static constexpr std::size_t kTroublesMax = 4096;
  static constexpr Duration kWaitFirst = 5s;
  static constexpr Duration kWaitMost = 5min;
  // A passing trouble is told to people after so many attempts, any other at once.
  static constexpr unsigned kToldAfter = 4;

  struct Row {
    InodeId inode;
    pb::Encoding to;
    std::int64_t since_ns = 0;
  };
  struct Job {
    Row row;
    std::uint32_t cs = 0;  // whose session it is
    Instant began;
    std::uint64_t bytes_done = 0;
    std::uint64_t bytes_total = 0;
    bool swapping = false;  // the command is on its way
    bool swapped = false;   // the log has it: its converter only cleans up
  };
  struct Trouble {
    Row row;
    std::string why;
    Instant not_before;
    Duration wait{0};  // of the last failure
    unsigned failures = 0;
    bool tell = false;  // people should know
    bool told = false;
    std::uint64_t scan = 0;  // the last that saw the row
  };
  struct Totals {
    std::uint64_t waiting = 0;  // with those under way
    std::uint64_t under_way = 0;
    std::uint64_t converted = 0;
    std::uint64_t bytes_converted = 0;
    double bytes_per_second = 0;
  };
  struct Told {
    InodeId inode;
    pb::Encoding to;
    std::string why;
  };
  struct Burst {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
  };

  // ---- the table ----
  void begin_scan();
  void saw(const Row& row, Instant now);
  void end_scan();
  // That many rows may be new: they are counted until the next scan has seen them.
  void queued(std::uint64_t files);

  // ---- converters ----
  // The next file for this session, that has none. nullptr: none may be tried now.
  const Job* take(SessionId session, std::uint32_t cs, Instant now);
  // It had the file under the master before. False: somebody else has it now.
  bool adopt(SessionId session, std::uint32_t cs, const Row& row, Instant now);
  const Job* job(SessionId session) const;
  bool busy(InodeId inode) const { return busy_.contains(inode); }
  void progress(SessionId session, std::uint64_t done, std::uint64_t total, Instant now);
  // Around the command that exchanges the data: meanwhile the file is not taken back. False: the
  // session does not have the file.
  bool begin_swap(SessionId session, InodeId inode);
  void swap_refused(SessionId session);
  // The data was exchanged: the file, of that size, counts as converted.
  void swapped(SessionId session, InodeId inode, std::uint64_t bytes, Instant now);
  // The session has its file no more, and that is no failure.
  void release(SessionId session);
  void failed(SessionId session, const Error& why, Instant now);
  // Its row is not in the table any more.
  void vanished(InodeId inode);
  // Is the session one of the first `workers` that have a file? One that swaps always is.
  bool within(SessionId session, std::uint64_t workers) const;

  // ---- what people and heartbeats are told ----
  Totals totals(Instant now) const;
  const std::map<SessionId, Job>& jobs() const { return jobs_; }
  const std::map<InodeId, Trouble>& troubles() const { return troubles_; }
  // Files that could be handed out now, up to `limit`.
  std::uint64_t ready(Instant now, std::uint64_t limit) const;
  // Failures that people have not been told of, each file once.
  std::vector<Told> take_untold();
  // What was converted since the last call; nullopt while files wait, and when there was nothing.
  std::optional<Burst> take_ended_burst();

 private:
  using Rank = std::tuple<std::int64_t, InodeId>;
  static Rank rank_of(const Row& row) { return {row.since_ns, row.inode}; }
  bool may_try(InodeId inode, Instant now) const;
  bool free_and_ready(InodeId inode, Instant now) const;
  void start(SessionId session, std::uint32_t cs, const Row& row, Instant now);
  void drop(InodeId inode);
  void forget_surplus_trouble();

  std::map<Rank, Row> window_;  // the oldest that might be tried when they were seen
  std::map<Rank, Row> next_window_;
  std::map<SessionId, Job> jobs_;
  std::set<InodeId> busy_;
  std::map<InodeId, Trouble> troubles_;
  std::uint64_t scan_ = 0;
  bool scanned_ = false;  // once at least
  std::uint64_t seen_ = 0;
  std::uint64_t waiting_ = 0;
  std::uint64_t converted_ = 0;
  std::uint64_t bytes_converted_ = 0;
  std::uint64_t bytes_copied_ = 0;
  Burst burst_;
  RateWindow<1> rate_;
};

}  // namespace cairn::mds::master
