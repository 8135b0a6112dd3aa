// Settings: everything that a seed decides before it runs. Small windows and batches and short
// leases make rare paths common; not every seed has every fault, so that one does not hide the
// other.
#pragma once

#include "mds/paxos/replica.h"
#include "tests/paxos/network.h"

namespace cairn::paxos_sim {

namespace paxos = mds::paxos;

// Deliberate faults of the driver, not of the core: what a member outside of mds/paxos must not do.
enum class DriverFault : std::uint8_t {
  kNone,
  kApplyTwice,           // a restart applies again what the tables have
  kReadBeneathSnapshot,  // sends slots from the log that lie below an installed snapshot
  kServeAcrossReigns,    // an answer evaluated in one reign is given in the next
  kNoLeaseCheck,         // reads are answered by whoever was elected last, as far as it knows
  kDriftTooMuch,         // clocks drift by more than hold / lease
};

// Chosen by the caller.
struct Plan {
  std::uint64_t seed = 1;
  paxos::Sabotage sabotage = paxos::Sabotage::kNone;
  DriverFault driver_fault = DriverFault::kNone;
  // Look into acceptors and messages too, not only at what members apply and clients hear.
  bool white_box = true;
  bool verbose = false;
};

struct DiskSettings {
  Duration write_min{0};
  Duration write_max{0};
  std::uint64_t stall_per_mille = 0;
  Duration stall_max{0};
};

// How often each fault is chosen when the nemesis strikes; 0: never in this seed.
struct FaultWeights {
  std::uint64_t crash = 0;
  std::uint64_t crash_at_effect = 0;
  std::uint64_t power_failure = 0;  // all at once
  std::uint64_t lose_log = 0;
  std::uint64_t pause = 0;
  std::uint64_t partition = 0;
  std::uint64_t one_way = 0;
  std::uint64_t clog = 0;
  std::uint64_t yield = 0;
  std::uint64_t members = 0;
};

struct Settings {
  Plan plan;
  std::size_t founders = 3;
  std::size_t clients = 3;
  std::uint32_t keys = 2;
  paxos::Timing timing;
  paxos::Limits limits;
  Duration faults_for{0};
  Duration fault_every{0};
  FaultWeights weights;
  LinkQuality quality;
  LinkQuality healed;
  DiskSettings disk;
  DiskSettings healed_disk;
  // Clocks run between these (DriftClock), so far apart as hold and lease allow.
  std::int64_t rate_min = 0;
  std::int64_t rate_max = 0;
  Duration apply_lag{0};  // 0: applied within the step
  Duration flush_every{0};
  std::uint64_t log_kept = 0;   // slots kept behind a flush
  bool messages_first = false;  // sent before the records of the same step are handed to the log
  // Clients.
  Duration think{0};
  Duration patience{0};
  std::uint64_t abandon_per_mille = 0;
  // Clients that ask any member, whoever may be the master.
  std::uint64_t wanderers_per_mille = 0;
  std::uint64_t read_per_mille = 0;
  // Between the evaluation of a read and the check of the lease.
  std::uint64_t slow_read_per_mille = 0;
  Duration slow_read_max{0};
  std::uint32_t padding_max = 0;
  // From healing until everybody must agree.
  Duration converge_within{0};
};

Settings draw_settings(const Plan& plan);

}  // namespace cairn::paxos_sim
