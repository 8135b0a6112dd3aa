// SimWorld and SimRuntime: virtual time for a whole cluster in one thread.
//
// SimWorld owns the event heap, ordered by (time, sequence): the same seed gives the same run.
// SimRuntime is the Runtime of one node's one life. kill() ends that life at once, as kill -9 does:
// nothing of it runs again. Its objects and callbacks (and with them the frames of its tasks) go to
// a graveyard that is never emptied: nobody unwinds a killed process. pause() is SIGSTOP: what is
// due waits until resume(). Its clock may run faster or slower than the world's.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "common/base/prng.h"
#include "common/runtime/runtime.h"

namespace cairn::sim {

class SimWorld;

class SimRuntime final : public runtime::Runtime {
 public:
  // The clock gains `drift_ppm` millionths.
  SimRuntime(SimWorld& world, std::int64_t drift_ppm) : world_(world), drift_ppm_(drift_ppm) {}

  Instant now() const override;
  WallTime wall_now() const override;
  std::uint64_t random() override;
  void post(runtime::Callback callback) override;
  runtime::TimerId schedule(Instant at, runtime::Callback callback) override;
  void cancel(runtime::TimerId timer) override;

  void kill();
  bool alive() const { return alive_; }
  void pause() { paused_ = true; }
  void resume();
  bool paused() const { return paused_; }
  SimWorld& world() { return world_; }

 private:
  friend class SimWorld;
  struct Parked {
    runtime::TimerId timer;
    runtime::Callback callback;
  };
  // When this clock shows `local`.
  Instant world_time(Instant local) const;

  SimWorld& world_;
  const std::int64_t drift_ppm_;
  bool alive_ = true;
  bool paused_ = false;
  std::vector<Parked> parked_;  // what was due meanwhile, in order
};

class SimWorld {
 public:
  explicit SimWorld(std::uint64_t seed) : prng_(seed) {}
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  Instant now() const { return now_; }
  Prng& prng() { return prng_; }
  // A runtime lives as long as the world: dead ones stay in the graveyard.
  SimRuntime& make_runtime(std::int64_t drift_ppm = 0);
  // Keeps what a killed node leaves behind; its destructors never run.
  static void bury(std::shared_ptr<void> remains);

  // Runs the next event; false when nothing is left to do.
  bool step();
  // Runs until `done` says so. False if the deadline of virtual time passed first, or nothing was
  // left.
  template <class Done>
  bool run_until(Done done, Duration limit) {
    const Instant end = now_ + limit;
    while (!done()) {
      if (now_ > end || !step()) return done();
    }
    return true;
  }
  void run_for(Duration duration);

  std::uint64_t events_run() const { return events_run_; }
  // Grows with every event's time and order: two runs of one seed must agree.
  std::uint64_t trace_hash() const { return trace_hash_; }

 private:
  friend class SimRuntime;
  struct Event {
    SimRuntime* owner;
    runtime::Callback callback;
  };
  using Key = std::pair<Instant, std::uint64_t>;

  runtime::TimerId add(SimRuntime* owner, Instant at, runtime::Callback callback);

  Prng prng_;
  Instant now_ = Instant::from_nanos(1'000'000'000);
  std::uint64_t next_sequence_ = 1;
  std::map<Key, Event> events_;
  std::map<std::uint64_t, Instant> due_;
  std::uint64_t events_run_ = 0;
  std::uint64_t trace_hash_ = 0xcbf29ce484222325ULL;
  std::vector<std::unique_ptr<SimRuntime>> runtimes_;
};

}  // namespace cairn::sim
