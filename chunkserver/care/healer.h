// Healer: gives damaged blocks their content back: finds the chunk's other pieces at the master,
// reads the same blocks there, copies or decodes, and hands the result to the store if it has the
// CRC that the table holds for the block.
//
// Promises: nothing is written that does not have that CRC, so a racing write or a lying source
//           cannot spoil a block: it is tried again later, with back-off, for ever. Damage that
//           cannot be undone now is said once, with what is missing. Nothing is healed while the
//           store is fenced.
// Limits:   kHealsAtOnce runs of at most kHealRunBlocks blocks under way, bytes_a_second over all,
//           kSubsetsMax sets of sources tried for a block.
// Requires: the loop thread; co_await stop() before it dies; everything it is given outlives it.
//           Chunk servers serve their own data plane themselves: other pieces only are read.
#pragma once

#include <optional>
#include <vector>

#include "chunkserver/care/damage_ledger.h"
#include "chunkserver/care/heal_sources.h"
#include "chunkserver/care/peer_reader.h"
#include "chunkserver/care/store_door.h"
#include "common/net/channel.h"
#include "common/observe/log.h"
#include "common/rpc/rpc.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::care {

inline constexpr std::size_t kHealsAtOnce = 4;
inline constexpr std::uint64_t kHealRunBlocks = 1_MiB / kBlockBytes;

struct HealerOptions {
  // Who asks, as in the heartbeats.
  std::uint64_t cluster_id = 0;
  std::uint32_t cs_id = 0;
  std::uint64_t repo_uuid = 0;
  ByteCount bytes_a_second = 32_MiB;  // of damaged blocks
  Duration period = 1s;               // between looks at the damage
};

struct HealerFigures {
  std::uint64_t healed = 0;    // blocks, since the start
  std::uint64_t undoable = 0;  // blocks that could not be healed when last tried, now
};

class Healer {
 public:
  // `mds` finds the master.
  Healer(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials,
         rpc::Caller& mds, StoreDoor& door, observe::Log& log, HealerOptions options);
  Healer(const Healer&) = delete;
  Healer& operator=(const Healer&) = delete;

  void start();
  Task<void> stop();
  HealerFigures figures() const { return {healed_, ledger_.undoable()}; }

 private:
  Task<void> run();
  Task<void> heal_all(std::vector<HealRun> runs);
  Task<void> work(std::vector<HealRun>* runs);
  Task<void> heal_run(HealRun run);
  Task<Result<HealSources>> look_up(const HealRun* run);
  // Builds what it can into `body`, reading one source after the other as needed. Answers for each
  // block the pieces it was built from.
  Task<std::vector<erasure::PieceMask>> build(const HealRun* run, HealSources* sources,
                                              Buffer body);
  // Reads the next sources; false: there are none.
  Task<bool> read_more(const HealRun* run, HealSources* sources);
  Task<void> read_source(const HealRun* run, ChunkVersion version, HealSource* source);
  // Blocks that were built go to the store.
  Task<Status> give(const HealRun* run, const HealSources* sources,
                    const std::vector<erasure::PieceMask>* built, const Buffer* body);
  // What was not healed: later.
  void put_off(const HealRun& run, const std::vector<erasure::PieceMask>& built, const Error& why,
               const HealSources* sources);
  Task<void> wait_turn(std::size_t blocks);
  Task<void> wait(Duration duration);
  bool halted() const { return stopping_ || door_.failure().has_value(); }

  runtime::Runtime& runtime_;
  rpc::Caller& mds_;
  StoreDoor& door_;
  observe::Log& log_;
  HealerOptions options_;
  PeerReader peers_;
  DamageLedger ledger_;
  Buffer zero_block_;
  std::uint64_t healed_ = 0;
  bool stopping_ = false;
  Instant next_turn_;
  std::optional<runtime::Completion<bool>> sleeper_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::care
