// ModelLog: the log store of one simulated member. What was handed over waits, is written as one
// batch, is durable. One batch is written at a time.
//
// Promises: a batch is there wholly or not at all, also when the power fails while it is written.
// Requires: the caller owns time: start_write() ... finish_write().
#pragma once

#include <map>
#include <vector>

#include "mds/paxos/replica.h"

namespace cairn::paxos_sim {

namespace paxos = mds::paxos;

// What a restart finds.
struct LogImage {
  paxos::Ballot promised;
  Slot chosen;
  bool recovering = false;
  Slot recover_until;
  Slot floor;  // slots up to this are gone, or not to be trusted
  // The newest record of each slot; ballot invalid: learned.
  std::map<Slot, paxos::Accepted> slots;

  void add(const paxos::Record& record);
};

class ModelLog {
 public:
  void hand_over(std::vector<paxos::Record> records, std::uint64_t last_record);
  bool writing() const { return !in_flight_.empty(); }
  bool waiting() const { return !queued_.empty(); }
  // Everything that waits becomes the batch under way.
  void start_write();
  // The batch is durable; its records, for whoever watches.
  std::vector<paxos::Record> finish_write();
  // Of the batch that finish_write() finished last.
  std::uint64_t durable_record() const { return durable_record_; }
  std::uint64_t handed_record() const { return handed_record_; }

  // `whole`: the batch under way had reached the disk, though nobody was told. Else it is lost or
  // torn, which is the same. What waited is lost. Answers the records that turn out durable.
  std::vector<paxos::Record> crash(bool whole);
  // The acceptor state is lost for good. What replaces it knows that.
  void lose_everything();

  const LogImage& image() const { return image_; }
  void truncate_through(Slot slot);
  // Consecutive slots from `from` to `last`, as far as they are there.
  std::vector<paxos::Value> read(Slot from, Slot last, std::size_t slots_max) const;

 private:
  std::vector<paxos::Record> queued_;
  std::vector<paxos::Record> in_flight_;
  std::uint64_t handed_record_ = 0;
  std::uint64_t in_flight_record_ = 0;
  std::uint64_t durable_record_ = 0;
  LogImage image_;
};

}  // namespace cairn::paxos_sim
