// Conversions: files that are brought into another encoding, at the master: reads table Y, hands
// files to the converters of chunk servers, tells people (conversion_board.h keeps the books).
// docs/protocols/conversion.md, "Queue".
//
// Promises: a file is handed out only while its row is in the table, to one converter at a time,
//           and to mds.convert.workers in all. What a converter had under the master before stays
//           its own: for kSettleTime nothing is handed out while a session of that time has not
//           asked.
// Limits:   kInvitedFor: a chunk server that was asked to come has its place so long, then another
//           one is asked, and it not for kShunnedFor. kEventsPerMinute failures are told one by
//           one, the rest as a number. A scan of the table takes a small part of the time.
// Requires: the loop thread; spawn run() into the task group of the environment; step() about once
//           a second; stop() before the group is joined.
// Errors:   next(): kNotPermitted (no session of a converter), the tables'.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "common/runtime/semaphore.h"
#include "mds/master/conversion_board.h"
#include "mds/master/cs_board.h"
#include "mds/master/environment.h"
#include "mds/master/event_writer.h"
#include "proto/admin.pb.h"

namespace cairn::mds::master {

class Conversions {
 public:
  static constexpr std::size_t kPage = 1000;
  static constexpr Duration kSettleTime = 10s;
  static constexpr Duration kInvitedFor = 5s;
  static constexpr Duration kShunnedFor = 30s;
  static constexpr unsigned kEventsPerMinute = 5;
  static constexpr int kFilesShown = 32;

  struct Parts {
    const CsBoard& cs_board;
    EventWriter& events;
    // Sessions of before the restart may hold what the master does not know.
    std::function<bool()> in_grace;
  };
  Conversions(Environment env, Parts parts)
      : env_(env),
        parts_(std::move(parts)),
        wake_(env.runtime),
        settled_at_(env.runtime.now() + kSettleTime) {}

  static Task<void> run(Conversions* self);
  void step(Instant now);
  void stop() { wake_.notify_all(); }
  // So many rows may be new: looks at once.
  void queued(std::uint64_t files);

  // A session of a chunk server. `before`: the table had it when this reign began.
  void opened(SessionId session, std::uint32_t cs, bool before);
  void ended(SessionId session);
  bool is_converter(SessionId session) const { return converters_.contains(session); }
  Result<pb::NextConversionReply> next(SessionId session, const pb::NextConversion& request);
  // Around the command that exchanges the data. kBusy: a converter was told to give the file back.
  Status begin_swap(SessionId session, InodeId inode);
  // `file`: what it is afterwards; nullptr: nothing was exchanged.
  void end_swap(SessionId session, InodeId inode, const pb::Attributes* file);

  // With its heartbeat: shall the chunk server open a session and ask for a file?
  bool wants(std::uint32_t cs);
  Result<pb::ConversionStat> stat() const;
  // Of a file that waits or is under way.
  Result<std::optional<pb::ConversionStat::File>> of(InodeId inode) const;
  const ConversionBoard& board() const { return board_; }

 private:
  using Row = ConversionBoard::Row;
  using Job = ConversionBoard::Job;

  Task<Status> scan();
  Result<std::optional<Row>> row_of(InodeId inode) const;
  Result<std::uint64_t> workers() const;
  // A converter of the time before may still come and go on with its file.
  bool settling(Instant now) const;
  Status end_job(SessionId session, const pb::NextConversion& request);
  Result<bool> may_go_on(SessionId session, const Job& job) const;
  Result<pb::NextConversionReply> go_on_from_before(SessionId session, std::uint32_t cs,
                                                    InodeId inode);
  Result<pb::NextConversionReply> hand_out(SessionId session, std::uint32_t cs);
  static pb::NextConversionReply told(const Job& job);
  // Converters under way, come or asked to come; those that did not come are shunned.
  std::set<std::uint32_t> taken(Instant now);
  bool is_better(const CsEntry& other, const CsEntry& asking) const;
  // conversion_reports.cpp
  void tell_failures(Instant now);
  void tell_end();
  pb::ConversionStat::File shown(const Job& job) const;
  pb::ConversionStat::File shown(const ConversionBoard::Trouble& trouble) const;

  Environment env_;
  Parts parts_;
  runtime::Signal wake_;
  ConversionBoard board_;
  const Instant settled_at_;
  std::map<SessionId, std::uint32_t> converters_;  // of which chunk server
  std::set<SessionId> unheard_;                    // of these, from before and not heard yet
  std::map<std::uint32_t, Instant> invited_;       // until then their place is kept
  std::map<std::uint32_t, Instant> shunned_;
  std::map<std::uint32_t, Instant> last_worked_;
  Instant next_scan_;
  Instant resting_until_;  // no scan before
  bool look_again_ = false;
  Instant minute_ends_;
  unsigned told_in_minute_ = 0;
  std::uint64_t untold_ = 0;
};

}  // namespace cairn::mds::master
