#include "chunkserver/testing/sim_stats.h"

namespace cairn::chunkserver::testing {
namespace {

constexpr SimStats::Field kFields[] = {
    {"seeds", &SimStats::seeds},
    {"steps", &SimStats::steps},
    {"prepares", &SimStats::prepares},
    {"with deltas", &SimStats::delta_prepares},
    {"large", &SimStats::large_prepares},
    {"reads", &SimStats::reads},
    {"settles", &SimStats::settles},
    {"seals", &SimStats::seals},
    {"resolves", &SimStats::resolves},
    {"removes", &SimStats::removes},
    {"refused", &SimStats::refused},
    {"power cuts", &SimStats::power_cuts},
    {"kills", &SimStats::kills},
    {"crashes in a start", &SimStats::crashes_in_start},
    {"ill starts", &SimStats::ill_starts},
    {"crashes in a switch", &SimStats::crashes_in_switch},
    {"clean restarts", &SimStats::clean_restarts},
    {"checkpoints", &SimStats::checkpoints},
    {"commits", &SimStats::commits},
    {"switches", &SimStats::switches},
    {"to a ring outside", &SimStats::switches_outside},
    {"switches refused", &SimStats::switches_refused},
    {"failed writes", &SimStats::failed_writes},
    {"failed flushes", &SimStats::failed_flushes},
    {"failed indexes", &SimStats::failed_indexes},
    {"stalls", &SimStats::stalls},
    {"wounds", &SimStats::wounds},
    {"found", &SimStats::wounds_found},
    {"healed", &SimStats::healed},
    {"ring wounds", &SimStats::ring_wounds},
    {"rings refused", &SimStats::rings_refused},
    {"no space", &SimStats::no_space},
    {"fills", &SimStats::fills},
    {"deep checks", &SimStats::deep_checks},
    {"operations", &SimStats::operations},
};

}  // namespace

std::span<const SimStats::Field> SimStats::fields() { return kFields; }

void SimStats::add(const SimStats& other) {
  for (const Field& field : kFields) this->*field.value += other.*field.value;
}

}  // namespace cairn::chunkserver::testing
