// StoreSim: a PieceStore under calls and disasters beside models of its pieces. After every step,
// and after every death and restart, what can be seen of the store must be explained by the models.
//
// Promises: deterministic for its settings and steps. The first thing that is wrong is failure();
//           after it nothing more is done.
#pragma once

#include "chunkserver/testing/sim_settings.h"
#include "chunkserver/testing/sim_stats.h"
#include "chunkserver/testing/sim_step.h"

namespace cairn::chunkserver::testing {

class StoreSim {
 public:
  StoreSim(SimSettings settings, SimStats* stats, bool verbose);

  // ---- one life after another ----
  void open();
  void step(StepPlan plan);
  // Ends the store in order and starts it again: nothing changes.
  void restart();
  // The power ends now.
  void crash(Fate fate, std::uint64_t seed);
  // In the first start after a death, at its n-th operation.
  void crash_second_start(std::uint64_t n, Fate fate, std::uint64_t seed);

  // ---- checks in a quiet moment ----
  // Every piece, the accounts, the scrub's view, no leaks.
  void check_deeply();
  // As much can be written as the store says, and it all comes back.
  void check_fill();
  // Removes everything: nothing is left.
  void finish();

  // ---- damage ----
  void wound_data();

  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }
  std::uint64_t trace_hash() const { return trace_; }
  std::uint64_t operations() { return world_.power().operations(); }
  std::uint64_t deaths() const { return deaths_; }
  // Of the last start.
  std::uint64_t start_operations() const { return start_operations_; }
  // Prepares of the last step that were answered as done.
  const std::vector<std::pair<PieceId, ModelOp>>& done() const { return done_; }
  const PieceModel& model(PieceId piece) { return models_[piece]; }
  StoreWorld& world() { return world_; }

 private:
  using History = std::map<PieceId, std::vector<TimedCall>>;
  struct Running;  // a call under way
  struct Wound {
    Buffer content;  // before
    std::uint64_t seed = 0;
    bool sector = false;  // it cannot be read; else: a bit was flipped
  };
  struct RingWound {
    std::string directory;  // empty: in the data file
    DiskOffset at;
    std::uint64_t seed = 0;
    Buffer rotten;
  };

  // ---- store_sim.cpp: steps ----
  Task<void> run(StepPlan* plan, std::vector<Running>* running);
  static Task<void> run_call(StoreSim* sim, Running* running);
  // Of every piece when `all`, else of those in `history`.
  void judge(const History& history, Ending ending, bool all);
  std::string unexplained(PieceId piece, const std::vector<TimedCall>& calls,
                          const PieceSight& sight, Ending ending);
  void count(const std::vector<TimedCall>& calls);
  void drop_hurt_reads(History* history) const;
  bool sort_out_answers(const History& history);
  void note(std::string_view text);
  void log(std::string_view text);
  StoreWorld::Options with_log(StoreWorld::Options options);
  void remember(const ModelCall& call);
  void fail_with(std::string text);

  // ---- store_sim_sides.cpp ----
  static Task<void> run_side(StoreSim* sim, const SideAction* side);
  static Task<void> run_disaster(StoreSim* sim, const Disaster* disaster);
  Task<void> switch_ring(store::RingPlan plan);

  // ---- store_sim_deaths.cpp ----
  // Goes through a death that was noticed outside of a step.
  void survive();
  bool dead() { return !world_.power().up() || world_.store().failure().has_value(); }
  void after_death(const History& history, bool excused);
  void mend_disks();
  bool is_late_fault(const Error& error) const;
  void check_fenced();
  void recover();
  bool opens();
  bool fail_start();
  void wound_ring();
  bool mend_ring();

  // ---- store_sim_checks.cpp ----
  // nullopt: the store died, or failed() now.
  std::optional<PieceSight> see(PieceId piece);
  // Gives the blocks the store calls damaged the content that other pieces would give. False: there
  // was nothing that could be healed.
  Task<bool> heal_damaged();
  bool heal_known() { return world_.loop().run(heal_damaged()); }
  // What other pieces would give for it. nullopt: nobody hurt it.
  std::optional<Buffer> content_of(const store::DamagedBlock& damaged) const;
  void check_scrub();
  void check_accounts();
  std::uint64_t fill();
  std::vector<PieceId> living() const;

  SimSettings settings_;
  SimStats& stats_;
  bool verbose_;
  Prng prng_;
  StoreWorld world_;
  std::map<PieceId, PieceModel> models_;
  std::map<std::uint64_t, Wound> wounds_;            // by block of the data file
  std::map<std::uint32_t, std::uint64_t> contents_;  // values that were written, by CRC
  std::optional<RingWound> ring_wound_;
  std::optional<ByteCount> capacity_;
  struct StartCrash {
    std::uint64_t at;
    Fate fate;
    std::uint64_t seed;
  };
  std::optional<StartCrash> start_crash_;
  std::vector<std::pair<PieceId, ModelOp>> done_;
  std::uint64_t clock_ = 0;
  std::uint64_t deaths_ = 0;
  std::uint64_t starts_ = 0;
  std::uint64_t start_operations_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t trace_ = 0;
  bool fault_ = false;        // something of this step is to fail
  bool flush_fault_ = false;  // a flush will fail, or has
  std::string failure_;
};

}  // namespace cairn::chunkserver::testing
