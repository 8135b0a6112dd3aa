// DataNemesis: a client dies with its last words on the way.
//
// First requests of a busy client to some chunk servers are stuck, so that ops are at some pieces
// and not at others. Then it dies. Either a chunk server dies with it (one rack, one plug): nobody
// but that one knew what it had, or had not; or what was stuck arrives long after the file went on
// without the client.
#include <algorithm>

#include "tests/sim/data_nemesis.h"

namespace cairn::sim {

namespace {
// Shorter than a chunk server may be silent: the client does not drop a piece before it dies.
constexpr std::uint64_t kMoreMs = 500;
constexpr Duration kStuck = 900ms;
constexpr Duration kPatience = 3s;
constexpr Duration kDown = 3s;  // a chunk server, at most; longer than the client
constexpr Duration kLook = 5ms;
}  // namespace

struct DataNemesis::LastWords {
  unsigned client = 0;
  LifePtr life;
  unsigned cs = 0;
  bool alone = false;     // requests to all others are stuck, else only those to `cs`
  bool together = false;  // `cs` dies too
  Instant until;
  std::size_t heard = 0;  // by `cs`, before

  bool stuck(unsigned other) const { return (other == cs) != alone; }
};

void DataNemesis::strike_last_words(unsigned cs) {
  const auto client = static_cast<unsigned>(world_.prng().below(mounts_.clients()));
  const LifePtr life = mounts_.life(client);
  if (life == nullptr || !life->mounted || cluster_.client_runtime(client).paused()) return;
  LastWords scene;
  scene.client = client;
  scene.life = life;
  scene.cs = cs;
  scene.alone = world_.prng().chance(500);
  scene.together = world_.prng().chance(600);
  scene.until = world_.now() + kPatience;
  scene.heard =
      cluster_.fabric().words(SimCluster::client_host(client), SimCluster::cs_host(cs)).sent;
  if (!cluster_.cs_runs(cs) || cluster_.cs_paused(cs)) return;
  if (scene.together && !begin_trouble(cs, kPatience + kDown)) return;
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    if (!scene.stuck(i)) continue;
    cluster_.fabric().cut_one_way(SimCluster::client_host(client), SimCluster::cs_host(i));
  }
  await_words(scene);
}

bool DataNemesis::words_are_stuck(const LastWords& scene) const {
  const std::string from = SimCluster::client_host(scene.client);
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    if (!scene.stuck(i)) continue;
    if (cluster_.fabric().words(from, SimCluster::cs_host(i)).under_way > kBlockBytes) return true;
  }
  return false;
}

void DataNemesis::await_words(LastWords scene) {
  const bool here = mounts_.life(scene.client) == scene.life;
  const bool stuck = here && words_are_stuck(scene);
  const std::string from = SimCluster::client_host(scene.client);
  const SimFabric::Words other = cluster_.fabric().words(from, SimCluster::cs_host(scene.cs));
  // The one that hears all shall have heard something.
  const bool heard = !scene.alone || other.sent > scene.heard + kBlockBytes;
  if (stuck && (heard || world_.now() >= scene.until)) {
    return later(draw(0, kMoreMs), [this, scene] { end_with_words(scene); });
  }
  if (stuck) scene.until = std::min(scene.until, world_.now() + kStuck);
  if (here && world_.now() < scene.until) {
    return later(kLook, [this, scene] { await_words(scene); });
  }
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    if (!scene.stuck(i)) continue;
    cluster_.fabric().heal(SimCluster::client_host(scene.client), SimCluster::cs_host(i));
  }
}

void DataNemesis::end_with_words(const LastWords& scene) {
  if (mounts_.life(scene.client) == scene.life) let_die(scene);
  const std::string host = SimCluster::client_host(scene.client);
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    if (scene.stuck(i)) cluster_.fabric().heal(host, SimCluster::cs_host(i));
  }
}

void DataNemesis::let_die(const LastWords& scene) {
  ++faults_.last_words;
  // Together: only the chunk server that died knows more, or less, than all others.
  const bool late = !scene.together || world_.prng().chance(200);
  if (late) ++faults_.late_words;
  // Its next mount ends its session, and the recovery begins; what was stuck arrives about then
  // mostly, when few others have written.
  const Duration again = draw(1, 800);
  const Duration after = again + draw(0, world_.prng().chance(700) ? 100 : 6000);
  mounts_.kill(scene.client, [&](const std::string& peer) -> std::optional<Duration> {
    return late && peer.starts_with("cs") ? std::optional(after) : std::nullopt;
  });
  later(again, [this, client = scene.client] {
    if (mounts_.life(client) == nullptr) mounts_.mount(client);
  });
  Duration seen = after;
  if (scene.together && cluster_.cs_runs(scene.cs)) {
    ++faults_.double_kills;
    const Duration down = again + draw(150, 2000);
    cluster_.kill_cs(scene.cs, world_.prng().chance(300));
    later(down, [this, cs = scene.cs] { restart(cs); });
    seen = std::max(seen, down);
  }
  if (world_.prng().chance(400)) later(seen + draw(0, 1500), [this] { over_ = true; });
}

}  // namespace cairn::sim
