// DataNemesis: what happens to chunk servers, their drives, clients and the links between all in
// the data-path workload. The MDS have a Nemesis of their own.
//
// Promises: at most `bad_max` chunk servers are in trouble at a time. Damage of stored blocks (rot,
//           bad sectors) counts as trouble of its server until the next quiet time, and so does
//           from then on every server that has trouble: never more lost than the code can bear.
// Requires: stop() before the cluster is looked at.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "tests/sim/cluster.h"
#include "tests/sim/coverage_data.h"
#include "tests/sim/data_files.h"

namespace cairn::sim {

// Who mounts and kills: the workload.
class Mounts {
 public:
  virtual ~Mounts() = default;
  virtual unsigned clients() const = 0;
  virtual LifePtr life(unsigned client) = 0;  // nullptr: not mounted now
  // `late`: see SimFabric::host_died().
  virtual void kill(unsigned client, const SimFabric::Late& late) = 0;
  virtual void mount(unsigned client) = 0;
};

struct DataFaults {
  std::uint64_t cs_kills = 0;
  std::uint64_t power_cuts = 0;
  std::uint64_t cs_pauses = 0;
  std::uint64_t stalls = 0;  // drives that hang
  std::uint64_t write_errors = 0;
  std::uint64_t rotten = 0;
  std::uint64_t bad_sectors = 0;
  std::uint64_t cuts = 0;
  std::uint64_t slow_hosts = 0;
  std::uint64_t client_kills = 0;
  std::uint64_t client_pauses = 0;
  std::uint64_t last_words = 0;         // clients killed while their requests were stuck on the way
  std::uint64_t converter_strikes = 0;  // chunk servers that were converting a file
  std::uint64_t late_words = 0;         // and these arrived long after
  std::uint64_t double_kills = 0;       // a chunk server died with them
  std::uint64_t revocations = 0;        // clients stopped or cut off for longer than a lease
  std::uint64_t below_minimum = 0;      // phases in which any number may be bad
  void tell(DataCoverage& coverage) const;
  std::uint64_t total() const;
};

class DataNemesis {
 public:
  struct Mood {
    unsigned bad_max = 1;
    unsigned spare = 0;  // pieces that may be missing before writes wait
    std::uint64_t pause_ms_max = 1000;
    std::uint64_t outage_ms_max = 3000;
    unsigned weights[7] = {1, 1, 1, 1, 1, 1, 1};  // see strike()
  };
  DataNemesis(SimWorld& world, SimCluster& cluster, DataFiles& files, Mounts& mounts);

  // Whether a block of that chunk server may be lost: all other pieces are well.
  using MayDamage = std::function<bool(unsigned cs)>;
  void set_may_damage(MayDamage may) { may_damage_ = std::move(may); }
  void start(const Mood& mood);
  void stop();
  // Data may have been delayed for longer than a lease's patience: losses that clients tell of are
  // no surprise.
  bool severe() const;
  // What just happened shall be looked at before it is written over.
  bool over() const { return over_; }
  const DataFaults& faults() const { return faults_; }

 private:
  void plan_next();
  void strike();
  void strike_process(unsigned cs);
  void strike_drive(unsigned cs);
  void strike_links(unsigned cs);
  void damage(unsigned cs);
  void strike_client();
  void revoke_client();
  // data_last_words.cpp
  struct LastWords;
  void strike_last_words(unsigned cs);
  void await_words(LastWords scene);
  void end_with_words(const LastWords& scene);
  void let_die(const LastWords& scene);
  bool words_are_stuck(const LastWords& scene) const;
  void restart(unsigned cs);
  void later(Duration delay, std::function<void()> action);
  // Has a new trouble for so long; false: it must not.
  bool begin_trouble(unsigned cs, Duration outage);
  Duration draw_outage();
  unsigned draw_cs();
  Duration draw(std::uint64_t low_ms, std::uint64_t high_ms);
  std::vector<std::string> mds_hosts();
  void cut_for(const std::string& a, const std::string& b, Duration outage);

  SimWorld& world_;
  SimCluster& cluster_;
  DataFiles& files_;
  Mounts& mounts_;
  SimRuntime& runtime_;
  Mood mood_;
  bool running_ = false;
  bool revoked_ = false;  // some client is, now
  bool over_ = false;
  MayDamage may_damage_;
  std::uint64_t round_ = 0;  // of start(): what was planned before is void
  std::map<unsigned, Instant> trouble_;
  std::set<unsigned> damaged_;   // in this round: those whose data may be gone
  std::set<unsigned> suspects_;  // since then: all that had trouble
  Instant severe_until_;
  std::map<unsigned, Instant> recent_;  // when each had trouble last
  DataFaults faults_;
};

}  // namespace cairn::sim
