#include "tests/paxos/settings.h"

#include <cmath>

#include "tests/paxos/draw.h"
#include "tests/paxos/drift_clock.h"

namespace cairn::paxos_sim {

namespace {

void draw_timing(Prng& prng, Settings* s) {
  paxos::Timing& t = s->timing;
  t.hold = draw(prng, 120ms, 1000ms);
  t.lease = per_mille(t.hold, prng.between(600, 970));
  t.heartbeat = per_mille(t.lease, prng.between(110, 330));
  t.stagger = per_mille(t.hold, prng.chance(500) ? prng.between(20, 100) : prng.between(100, 500));
  t.campaign = per_mille(t.hold, prng.between(150, 400));
  t.resend = per_mille(t.hold, prng.between(60, 300));
  // The slowest and the fastest clock may differ by hold / lease; half of the seeds use all of it.
  const double ratio =
      static_cast<double>(t.hold.count()) / static_cast<double>(t.lease.count()) * 0.9995;
  double span = prng.chance(500) ? ratio : 1 + (ratio - 1) * 0.1;
  if (s->plan.driver_fault == DriverFault::kDriftTooMuch) span = ratio * 1.3;
  const auto whole = static_cast<double>(DriftClock::kTrueRate);
  s->rate_min = static_cast<std::int64_t>(std::ceil(whole / std::sqrt(span)));
  s->rate_max = static_cast<std::int64_t>(whole * std::sqrt(span));
}

void draw_limits(Prng& prng, Settings* s) {
  s->limits.window_slots = prng.between(1, 40);
  s->limits.window_bytes = prng.between(100, 4000);
  s->limits.batch_slots = prng.between(1, 12);
  s->limits.batch_bytes = prng.between(60, 1500);
  s->padding_max = static_cast<std::uint32_t>(prng.chance(500) ? 0 : prng.between(1, 400));
}

void draw_network(Prng& prng, Settings* s) {
  LinkQuality& q = s->quality;
  q.lost_per_mille = prng.chance(300) ? 0 : prng.below(150);
  q.doubled_per_mille = prng.chance(400) ? 0 : prng.below(150);
  q.delay_min = draw(prng, 20us, 400us);
  q.delay_max = q.delay_min + draw(prng, 10us, per_mille(s->timing.campaign, 150));
  q.late_per_mille = prng.chance(400) ? 0 : prng.below(40);
  q.late_max = q.delay_max + draw(prng, 1ms, 2 * s->timing.hold);
  s->healed = {.delay_min = 20us, .delay_max = per_mille(s->timing.campaign, 50)};
}

void draw_disk(Prng& prng, Settings* s) {
  s->disk.write_min = draw(prng, 10us, 200us);
  const std::uint64_t slow = prng.chance(300) ? 400 : 120;
  s->disk.write_max = s->disk.write_min + draw(prng, 10us, per_mille(s->timing.campaign, slow));
  s->disk.stall_per_mille = prng.chance(600) ? 0 : prng.below(20);
  s->disk.stall_max = 2 * s->timing.hold;
  s->healed_disk = {.write_min = 10us,
                    .write_max = per_mille(s->timing.campaign, 50),
                    .stall_per_mille = 0,
                    .stall_max = {}};
  s->apply_lag = prng.chance(600) ? Duration(0) : draw(prng, 10us, per_mille(s->timing.hold, 50));
  s->flush_every = draw(prng, per_mille(s->timing.hold, 300), 10 * s->timing.hold);
  s->log_kept = prng.chance(500) ? prng.below(5) : prng.below(60);
  s->messages_first = prng.chance(500);
}

void draw_faults(Prng& prng, Settings* s) {
  const auto weight = [&prng](std::uint64_t used_per_mille) {
    return prng.chance(used_per_mille) ? prng.between(1, 10) : 0;
  };
  FaultWeights& w = s->weights;
  w.crash = weight(600);
  w.crash_at_effect = weight(600);
  w.power_failure = weight(200);
  w.lose_log = weight(350);
  w.pause = weight(450);
  w.partition = weight(500);
  w.one_way = weight(400);
  w.clog = weight(350);
  w.yield = weight(350);
  w.members = 2 * weight(600);
  s->faults_for = s->timing.hold * static_cast<std::int64_t>(prng.between(8, 40));
  s->fault_every = per_mille(s->timing.hold, prng.between(150, 2000));
}

void draw_clients(Prng& prng, Settings* s) {
  s->clients = prng.chance(800) ? prng.between(1, 6) : prng.between(6, 14);
  s->keys = static_cast<std::uint32_t>(prng.between(1, 3));
  s->think = per_mille(s->timing.hold, prng.between(20, 400));
  s->patience = per_mille(s->timing.hold, prng.between(150, prng.chance(500) ? 800 : 3000));
  s->wanderers_per_mille = prng.chance(300) ? 0 : prng.between(100, 700);
  s->abandon_per_mille = prng.chance(500) ? 0 : prng.below(150);
  s->read_per_mille = prng.between(200, 600);
  s->slow_read_per_mille = prng.chance(500) ? 50 : 300;
  s->slow_read_max = s->timing.hold * static_cast<std::int64_t>(prng.between(1, 20));
}

}  // namespace

Settings draw_settings(const Plan& plan) {
  Prng prng(mix(0x5e771465, plan.seed));
  Settings s;
  s.plan = plan;
  constexpr std::size_t kFounders[] = {1, 2, 3, 3, 3, 3, 4, 5, 5};
  s.founders = kFounders[prng.below(std::size(kFounders))];
  draw_timing(prng, &s);
  draw_limits(prng, &s);
  draw_network(prng, &s);
  draw_disk(prng, &s);
  draw_faults(prng, &s);
  draw_clients(prng, &s);
  s.converge_within = 40 * s.timing.hold;
  return s;
}

}  // namespace cairn::paxos_sim
