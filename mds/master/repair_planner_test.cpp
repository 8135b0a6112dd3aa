#include "mds/master/repair_planner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "mds/master/repair_memory.h"

namespace cairn::mds::master {
namespace {

constexpr std::uint32_t kFirstCs = 1025;

// A letter a piece, piece i on CS 1025 + i: C current, U unwritten, M missing there (region 0), W
// missing there with nothing, N missing without a place.
pb::Chunk chunk_of(std::uint64_t id, unsigned data, unsigned min, const std::string& pieces) {
  pb::Chunk chunk;
  chunk.set_id(id);
  chunk.set_piece_bytes(64_MiB);
  chunk.mutable_encoding()->set_data(data);
  chunk.mutable_encoding()->set_parity(static_cast<unsigned>(pieces.size()) - data);
  chunk.mutable_encoding()->set_min(min);
  for (unsigned i = 0; i < pieces.size(); ++i) {
    pb::Piece* piece = chunk.add_pieces();
    piece->set_index(i);
    piece->set_cs_id(pieces[i] == 'N' ? 0 : kFirstCs + i);
    piece->set_state(pieces[i] == 'C'   ? pb::PIECE_CURRENT
                     : pieces[i] == 'U' ? pb::PIECE_UNWRITTEN
                                        : pb::PIECE_MISSING);
    if (pieces[i] == 'M') piece->set_missed(1);
    if (pieces[i] == 'W' || pieces[i] == 'N') piece->set_missed(layout::kAllRegions);
  }
  return chunk;
}

RepairRequest request_of(std::uint64_t id, unsigned data, unsigned min, const std::string& pieces) {
  RepairRequest request;
  request.chunk = chunk_of(id, data, min, pieces);
  return request;
}

// A letter a CS: A active, i inactive, o offline, s suspect, a not heard of yet, F full, B busy.
// Hosts: one each.
RepairServers servers_of(const std::string& states) {
  RepairServers servers;
  for (unsigned i = 0; i < states.size(); ++i) {
    const char letter = states[i];
    RepairServer server;
    server.place = {.cs = NodeId::from_raw(kFirstCs + i),
                    .host = HostId::from_raw(100 + i),
                    .active = true,
                    .free_bytes = letter == 'F' ? 1_MiB : 50_GiB,
                    .space_bytes = 100_GiB};
    server.state = letter == 'o'                    ? CsState::kOffline
                   : letter == 'i' || letter == 'a' ? CsState::kInactive
                                                    : CsState::kActive;
    server.suspect = letter == 's';
    server.awaited = letter == 'a';
    server.repairs = letter == 'B' ? RepairLimits().per_server : 0;
    servers.emplace(kFirstCs + i, server);
  }
  return servers;
}

const std::function<bool(ChunkId, NodeId)> kNoRemovals = [](ChunkId, NodeId) { return false; };

RepairPlan plan(const std::vector<RepairRequest>& chunks, const std::string& servers,
                unsigned under_way = 0) {
  const RepairServers known = servers_of(servers);
  return plan_repairs(
      chunks, {.servers = known, .removal_queued = kNoRemovals, .seed = 3, .under_way = under_way});
}

// "rejoin 2", "place 2 at 4" (CSs from 0), or why nothing is done.
std::string told(const RepairPlan& plan) {
  if (plan.actions.empty()) {
    return plan.waiting.empty() ? "-" : std::string(repair_wait_text(plan.waiting[0].wait));
  }
  const RepairAction& action = plan.actions[0];
  std::string text = action.kind == RepairKind::kRejoin ? "rejoin " : "place ";
  text += std::to_string(action.piece);
  if (action.kind == RepairKind::kPlace) {
    text += " at " + std::to_string(action.cs.raw() - kFirstCs);
  }
  return text;
}

std::string one(unsigned data, unsigned min, const std::string& pieces,
                const std::string& servers) {
  return told(plan({request_of(7, data, min, pieces)}, servers));
}

const std::string kBusyText{repair_wait_text(RepairWait::kBusy)};
const std::string kNoPlaceText{repair_wait_text(RepairWait::kNoPlace)};
const std::string kAwayText{repair_wait_text(RepairWait::kServerAway)};
const std::string kTooFewText{repair_wait_text(RepairWait::kTooFewPieces)};

TEST(RepairPlanner, BringsAPieceUpToDateWhereItIsWhenItsServerIsActive) {
  EXPECT_EQ(one(1, 2, "CCM", "AAAA"), "rejoin 2");
  EXPECT_EQ(one(1, 2, "CCW", "AAAA"), "rejoin 2");
  EXPECT_EQ(one(1, 2, "CMM", "AAAA"), "rejoin 1");
  // The shorter copy first.
  EXPECT_EQ(one(1, 2, "CWM", "AAAA"), "rejoin 2");
  EXPECT_EQ(one(1, 2, "CNM", "AAAA"), "rejoin 2");
  EXPECT_EQ(one(1, 2, "CCC", "AAAA"), "no piece is missing");
}

TEST(RepairPlanner, WaitsForAnInactiveServerUnlessAWriteWaits) {
  EXPECT_EQ(one(1, 2, "CCM", "AAiA"), kAwayText);
  EXPECT_EQ(one(1, 2, "CCM", "AAsA"), kAwayText);
  EXPECT_EQ(one(1, 3, "CCM", "AAiA"), "place 2 at 3");
  EXPECT_EQ(one(1, 3, "CCM", "AAsA"), "place 2 at 3");
  // The master has only begun: it may be heard any moment.
  EXPECT_EQ(one(1, 3, "CCM", "AAaA"), kAwayText);
  EXPECT_EQ(one(1, 3, "CCM", "AAAA"), "rejoin 2");
}

TEST(RepairPlanner, GivesAnotherPlaceWhenTheServerIsOfflineOrThereIsNone) {
  EXPECT_EQ(one(1, 2, "CCM", "AAoA"), "place 2 at 3");
  EXPECT_EQ(one(1, 2, "CCN", "AAoA"), "place 2 at 3");
  EXPECT_EQ(one(1, 2, "CCM", "AA"), kNoPlaceText) << "its server is not known at all";
  EXPECT_EQ(one(1, 2, "CCM", "AAo"), kNoPlaceText);
  EXPECT_EQ(one(1, 2, "CCM", "AAoi"), kNoPlaceText);
  EXPECT_EQ(one(1, 2, "CCM", "AAos"), kNoPlaceText);
  EXPECT_EQ(one(1, 2, "CCM", "AAoF"), kNoPlaceText);
  EXPECT_EQ(one(1, 2, "CCM", "AAoB"), kBusyText);
  EXPECT_EQ(one(1, 2, "CCM", "AABA"), kBusyText) << "it has a place, and waits for its turn";
  EXPECT_EQ(one(4, 5, "CCCCMM", "AAAAoB"), kBusyText);
}

TEST(RepairPlanner, NeedsAsManyPiecesAsTheData) {
  EXPECT_EQ(one(4, 5, "CCCCMM", "AAAiAA"), kTooFewText);
  EXPECT_EQ(one(4, 5, "CCCCMM", "AAAsAA"), kTooFewText);
  EXPECT_EQ(one(4, 5, "CCCUMM", "AAAoAA"), "rejoin 4") << "zeros are read from nobody";
  EXPECT_EQ(one(4, 5, "CCCMMM", "AAAAAA"), kTooFewText);
}

TEST(RepairPlanner, KeepsOffServersAndDomainsOfOtherPieces) {
  RepairServers servers = servers_of("AAoAA");
  // CS 3 shares its host with CS 0.
  servers.at(kFirstCs + 3).place.host = servers.at(kFirstCs).place.host;
  std::vector<RepairRequest> chunks{request_of(7, 1, 2, "CCM")};
  const auto planned = [&] {
    return told(plan_repairs(chunks, {.servers = servers, .removal_queued = kNoRemovals}));
  };
  EXPECT_EQ(planned(), "place 2 at 4");
  servers.erase(kFirstCs + 4);
  EXPECT_EQ(planned(), kNoPlaceText);
  chunks[0].domain = placement::Domain::kDisk;
  EXPECT_EQ(planned(), "place 2 at 3");
  // A host that only the lost piece was on is free.
  chunks[0].domain = placement::Domain::kHost;
  servers.at(kFirstCs + 3).place.host = servers.at(kFirstCs + 2).place.host;
  EXPECT_EQ(planned(), "place 2 at 3");
}

TEST(RepairPlanner, PassesOverAServerThatHasYetToRemoveAPieceOfTheChunk) {
  const RepairServers servers = servers_of("AAoAA");
  std::uint32_t removing = kFirstCs + 3;
  const std::function<bool(ChunkId, NodeId)> queued = [&](ChunkId chunk, NodeId cs) {
    EXPECT_EQ(chunk.raw(), 7U);
    return cs.raw() == removing || removing == 0;
  };
  const std::vector<RepairRequest> chunks{request_of(7, 1, 2, "CCM")};
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    EXPECT_EQ(
        told(plan_repairs(chunks, {.servers = servers, .removal_queued = queued, .seed = seed})),
        "place 2 at 4");
  }
  removing = 0;
  const RepairPlan none = plan_repairs(chunks, {.servers = servers, .removal_queued = queued});
  EXPECT_EQ(told(none), kNoPlaceText);
  EXPECT_EQ(none.waiting[0].why,
            "of 5 CSs 0 are not active, 0 are full, 3 share a failure domain with another piece, 2 "
            "have yet to remove an old piece");
}

TEST(RepairPlanner, LeavesAPlaceThatFailedTooOftenIfThereIsAnother) {
  RepairRequest request = request_of(7, 1, 2, "CCM");
  request.unfit = kFirstCs + 2;
  EXPECT_EQ(told(plan({request}, "AAAA")), "place 2 at 3");
  EXPECT_EQ(told(plan({request}, "AAA")), "rejoin 2");
  EXPECT_EQ(told(plan({request}, "AAAo")), "rejoin 2");
}

TEST(RepairPlanner, TakesPendingChunksFirstThenThoseWithTheLeastToSpare) {
  const std::vector<RepairRequest> chunks{
      request_of(1, 4, 5, "CCCCCM"), request_of(2, 1, 1, "CMM"), request_of(3, 1, 2, "CCM"),
      request_of(4, 4, 5, "CCCCMM"), request_of(5, 1, 2, "CMM"), request_of(6, 4, 4, "CCCCMM")};
  const RepairPlan four = plan(chunks, "AAAAAA");
  ASSERT_EQ(four.actions.size(), 4U);
  std::vector<std::uint64_t> order;
  for (const RepairAction& action : four.actions) order.push_back(action.chunk.raw());
  EXPECT_EQ(order, (std::vector<std::uint64_t>{4, 5, 2, 6}));
  EXPECT_TRUE(four.actions[0].pending);
  EXPECT_FALSE(four.actions[2].pending);
  EXPECT_FALSE(four.actions[0].why.empty());
  EXPECT_EQ(four.waiting.size(), 2U);
}

TEST(RepairPlanner, KeepsToItsLimits) {
  std::vector<RepairRequest> chunks;
  for (std::uint64_t i = 0; i < 10; ++i) chunks.push_back(request_of(i + 1, 1, 2, "CCN"));
  RepairPlan planned = plan(chunks, "AAAAAAAA");
  EXPECT_EQ(planned.actions.size(), 4U);
  EXPECT_EQ(planned.waiting.size(), 6U);
  planned = plan(chunks, "AAA");
  EXPECT_EQ(planned.actions.size(), 2U) << "two at one CS";
  EXPECT_EQ(plan(chunks, "AAAAAAAA", 3).actions.size(), 1U);
  EXPECT_EQ(plan(chunks, "AAAAAAAA", 4).actions.size(), 0U);
  std::map<std::uint32_t, unsigned> at;
  for (const RepairAction& action : plan(chunks, "AAAA").actions) ++at[action.cs.raw()];
  for (const auto& [cs, count] : at) EXPECT_LE(count, 2U) << cs;
}

// All small cases: what is done is allowed, what could be done is done, and the quick answer is the
// same.
void check_case(const std::string& pieces, unsigned data, unsigned min, const std::string& states) {
  const std::string name = pieces + " " + states + " " + std::to_string(data);
  const RepairRequest request = request_of(7, data, min, pieces);
  const RepairServers servers = servers_of(states);
  const RepairPlan planned = plan({request}, states);
  const std::optional<RepairWait> quick = why_waiting(request, servers);
  const auto live = static_cast<unsigned>(
      std::ranges::count_if(pieces, [](char p) { return p == 'C' || p == 'U'; }));
  unsigned readable = 0;
  bool rejoin = false;
  bool replace = false;
  bool free_server = false;
  for (unsigned i = 0; i < states.size(); ++i) {
    const bool has_place = i < pieces.size() && pieces[i] != 'N';
    const bool missing = i < pieces.size() && pieces[i] != 'C' && pieces[i] != 'U';
    if (i < pieces.size() && (pieces[i] == 'U' || (pieces[i] == 'C' && states[i] == 'A'))) {
      ++readable;
    }
    if (missing && has_place && states[i] == 'A') rejoin = true;
    const bool away = states[i] == 'o' || (states[i] == 'i' && live < min);
    if (missing && (!has_place || away)) replace = true;
    if (!has_place && states[i] == 'A') free_server = true;
  }
  const bool possible =
      live < pieces.size() && readable >= data && (rejoin || (replace && free_server));
  ASSERT_EQ(planned.actions.size(), possible ? 1U : 0U) << name << ": " << told(planned);
  ASSERT_EQ(!quick.has_value(), possible) << name;
  if (!possible) {
    ASSERT_EQ(planned.waiting[0].wait, *quick) << name;
    return;
  }
  const RepairAction& action = planned.actions[0];
  const unsigned at = action.cs.raw() - kFirstCs;
  ASSERT_EQ(states.at(at), 'A') << name;
  ASSERT_EQ(action.kind == RepairKind::kRejoin, rejoin) << name << ": " << told(planned);
  if (rejoin) {
    ASSERT_EQ(at, action.piece) << name;
  } else {
    ASSERT_TRUE(at >= pieces.size() || pieces[at] == 'N') << name << ": " << told(planned);
  }
}

TEST(RepairPlanner, IsRightInEverySmallCase) {
  const std::string kinds = "CUMN";
  const std::string states = "Aio";
  for (unsigned pieces = 0; pieces < 4 * 4 * 4; ++pieces) {
    for (unsigned servers = 0; servers < 3 * 3 * 3 * 3; ++servers) {
      std::string of_pieces;
      std::string of_servers;
      for (unsigned i = 0, rest = pieces; i < 3; ++i, rest /= 4) of_pieces += kinds[rest % 4];
      for (unsigned i = 0, rest = servers; i < 4; ++i, rest /= 3) of_servers += states[rest % 3];
      check_case(of_pieces, 1, 2, of_servers);
      check_case(of_pieces, 2, 2, of_servers);
      check_case(of_pieces, 2, 3, of_servers);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(RepairMemory, WaitsLongerAfterEachFailureAndForgets) {
  RepairMemory memory;
  const ChunkId chunk = ChunkId::from_raw(7);
  Instant now = Instant::from_nanos(0) + 60min;
  Duration expected = 1s;
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(memory.ready(chunk, false, now));
    memory.failed(chunk, 1025, now);
    EXPECT_FALSE(memory.ready(chunk, false, now + expected - 1ms)) << i;
    EXPECT_FALSE(memory.ready(chunk, true, now + 999ms));
    EXPECT_TRUE(memory.ready(chunk, true, now + 1s)) << "a write waits";
    now = now + expected;
    expected = std::min<Duration>(expected * 2, RepairMemory::kMost);
    EXPECT_EQ(memory.unfit(chunk, false), i >= 2 ? 1025U : 0U);
    EXPECT_EQ(memory.unfit(chunk, true), 1025U);
  }
  memory.expire(now + 2min);
  EXPECT_EQ(memory.unfit(chunk, true), 0U);
}

TEST(RepairMemory, BearsOneRepairThatDidNotLastAndNotMany) {
  RepairMemory memory;
  const ChunkId chunk = ChunkId::from_raw(7);
  const Instant now = Instant::from_nanos(0) + 60min;
  memory.repaired(chunk, 1025, now);
  EXPECT_TRUE(memory.ready(chunk, false, now));
  EXPECT_EQ(memory.unfit(chunk, true), 0U);
  // Another piece of the chunk has nothing to do with it.
  memory.repaired(chunk, 1026, now);
  EXPECT_TRUE(memory.ready(chunk, false, now));
  memory.repaired(chunk, 1026, now);
  EXPECT_FALSE(memory.ready(chunk, false, now));
  memory.repaired(chunk, 1026, now);
  EXPECT_EQ(memory.unfit(chunk, false), 1026U);
  memory.forgive(1026);
  EXPECT_TRUE(memory.ready(chunk, false, now));
}

TEST(RepairMemory, IsBounded) {
  RepairMemory memory;
  const Instant now = Instant::from_nanos(0) + 60min;
  for (std::uint64_t i = 1; i <= RepairMemory::kChunksMax + 10; ++i) {
    memory.failed(ChunkId::from_raw(i), 1025, now + Duration(static_cast<std::int64_t>(i)));
  }
  EXPECT_TRUE(memory.ready(ChunkId::from_raw(1), false, now));
  EXPECT_FALSE(memory.ready(ChunkId::from_raw(RepairMemory::kChunksMax), false, now));
}

}  // namespace
}  // namespace cairn::mds::master
