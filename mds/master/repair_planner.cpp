#include "mds/master/repair_planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

namespace cairn::mds::master {

namespace {

bool usable(const RepairServer& server) {
  return server.state == CsState::kActive && !server.suspect;
}

const RepairServer* find(const RepairServers& servers, std::uint32_t cs) {
  const auto at = servers.find(cs);
  return at == servers.end() ? nullptr : &at->second;
}

unsigned live(const pb::Chunk& chunk) {
  return static_cast<unsigned>(std::ranges::count_if(
      chunk.pieces(), [](const pb::Piece& piece) { return piece.state() != pb::PIECE_MISSING; }));
}

// Pieces that a copy can be made from. One never written is zeros, whatever its CS does.
unsigned readable(const pb::Chunk& chunk, const RepairServers& servers) {
  return static_cast<unsigned>(std::ranges::count_if(chunk.pieces(), [&](const pb::Piece& piece) {
    if (piece.state() != pb::PIECE_CURRENT) return piece.state() == pb::PIECE_UNWRITTEN;
    const RepairServer* server = find(servers, piece.cs_id());
    return server != nullptr && usable(*server);
  }));
}

// What is to be done about one missing piece.
enum class Fate : std::uint8_t { kRejoin, kReplace, kReplaceOrRejoin, kAwait };

Fate fate_of(const pb::Piece& piece, const RepairRequest& request, const RepairServers& servers) {
  const RepairServer* server = piece.cs_id() == 0 ? nullptr : find(servers, piece.cs_id());
  if (server == nullptr || server->state == CsState::kOffline) {
    return Fate::kReplace;
  }
  if (usable(*server)) {
    return piece.cs_id() == request.unfit ? Fate::kReplaceOrRejoin : Fate::kRejoin;
  }
  return is_pending(request.chunk) && !server->awaited ? Fate::kReplace : Fate::kAwait;
}

// Where the other pieces of the chunk are.
struct Taken {
  std::set<std::uint32_t> servers;
  std::set<std::uint64_t> domains;
};

Taken taken_by_others(unsigned piece, const RepairRequest& request, const RepairServers& servers) {
  Taken taken;
  for (const pb::Piece& other : request.chunk.pieces()) {
    if (other.cs_id() == 0) continue;
    taken.servers.insert(other.cs_id());
    const RepairServer* server = find(servers, other.cs_id());
    if (other.index() == piece || server == nullptr) continue;
    taken.domains.insert(placement::domain_of(server->place, request.domain));
  }
  return taken;
}

enum class Fit : std::uint8_t { kYes, kAway, kTaken, kFull, kCount };

Fit fit_of(const RepairServer& server, const RepairRequest& request, const Taken& taken) {
  if (taken.servers.contains(server.place.cs.raw())) return Fit::kTaken;
  if (!usable(server) || server.place.cs.raw() == request.unfit) return Fit::kAway;
  if (taken.domains.contains(placement::domain_of(server.place, request.domain)))
    return Fit::kTaken;
  return placement::has_room(server.place, request.chunk.piece_bytes()) ? Fit::kYes : Fit::kFull;
}

struct Search {
  std::optional<NodeId> cs;
  bool busy = false;  // there is one, and it has enough to do
  std::string why;    // there is none
};

Search find_place(unsigned piece, const RepairRequest& request, const RepairInputs& inputs) {
  const Taken taken = taken_by_others(piece, request, inputs.servers);
  std::array<unsigned, static_cast<std::size_t>(Fit::kCount)> counts{};
  Search search;
  std::vector<placement::Candidate> candidates;
  for (const auto& [id, server] : inputs.servers) {
    const Fit fit = fit_of(server, request, taken);
    ++counts[static_cast<std::size_t>(fit)];
    if (fit != Fit::kYes) continue;
    if (server.repairs >= inputs.limits.per_server) {
      search.busy = true;
      continue;
    }
    candidates.push_back(server.place);
    candidates.back().active = true;
  }
  const ChunkId chunk = ChunkId::from_raw(request.chunk.id());
  unsigned removing = 0;
  while (!candidates.empty()) {
    const placement::Request wanted{.pieces = 1,
                                    .min = 1,
                                    .tier = request.tier,
                                    .domain = request.domain,
                                    .piece_bytes = request.chunk.piece_bytes(),
                                    .seed = inputs.seed ^ chunk.raw()};
    const NodeId picked = placement::plan(candidates, wanted).places.at(0);
    if (!inputs.removal_queued(chunk, picked)) {
      search.cs = picked;
      return search;
    }
    ++removing;
    std::erase_if(candidates, [&](const placement::Candidate& c) { return c.cs == picked; });
  }
  search.why = fmt::format(
      "of {} CSs {} are not active, {} are full, {} share a failure domain with another piece, {} "
      "have yet to remove an old piece",
      inputs.servers.size(), counts[static_cast<std::size_t>(Fit::kAway)],
      counts[static_cast<std::size_t>(Fit::kFull)], counts[static_cast<std::size_t>(Fit::kTaken)],
      removing);
  return search;
}

std::string why_rejoin(const pb::Piece& piece) {
  if (piece.missed() == layout::kAllRegions) {
    return fmt::format("piece {} is copied to its place at CS {}", piece.index(), piece.cs_id());
  }
  return fmt::format("piece {} at CS {} missed {} of {} regions", piece.index(), piece.cs_id(),
                     std::popcount(piece.missed()), layout::kRegions);
}

std::string why_place(const pb::Piece& piece, const RepairRequest& request,
                      const RepairServers& servers) {
  const RepairServer* server = piece.cs_id() == 0 ? nullptr : find(servers, piece.cs_id());
  if (server == nullptr) return fmt::format("piece {} has no place", piece.index());
  if (server->state == CsState::kOffline) {
    return fmt::format("CS {} of piece {} is offline", piece.cs_id(), piece.index());
  }
  if (piece.cs_id() == request.unfit) {
    return fmt::format("piece {} could not be repaired at CS {}", piece.index(), piece.cs_id());
  }
  return fmt::format("a write waits for the minimum and CS {} of piece {} is inactive",
                     piece.cs_id(), piece.index());
}

// One chunk at a time.
class Chooser {
 public:
  Chooser(const RepairRequest& request, const RepairInputs& inputs)
      : request_(request), inputs_(inputs) {
    for (const pb::Piece& piece : request.chunk.pieces()) {
      if (piece.state() != pb::PIECE_MISSING) continue;
      missing_.push_back({&piece, fate_of(piece, request, inputs.servers)});
    }
    // The shortest copy first.
    std::ranges::stable_sort(missing_, {}, [](const Missing& missing) {
      return std::popcount(missing.piece->missed());
    });
  }

  std::optional<RepairAction> choose() {
    if (missing_.empty()) return std::nullopt;
    wait_ = RepairWait::kTooFewPieces;
    if (readable(request_.chunk, inputs_.servers) < request_.chunk.encoding().data()) {
      return std::nullopt;
    }
    wait_ = RepairWait::kServerAway;
    for (const Missing& missing : missing_) {
      if (missing.fate == Fate::kRejoin && has_time(*missing.piece)) return rejoin(*missing.piece);
    }
    for (const Missing& missing : missing_) {
      if (missing.fate != Fate::kReplace && missing.fate != Fate::kReplaceOrRejoin) continue;
      if (std::optional<RepairAction> action = replace(*missing.piece)) return action;
      const bool may_rejoin = missing.fate == Fate::kReplaceOrRejoin;
      if (may_rejoin && has_time(*missing.piece)) return rejoin(*missing.piece);
    }
    return std::nullopt;
  }
  RepairWait wait() const { return wait_; }
  const std::string& why() const { return why_; }

 private:
  struct Missing {
    const pb::Piece* piece;
    Fate fate;
  };

  bool has_time(const pb::Piece& piece) {
    if (find(inputs_.servers, piece.cs_id())->repairs < inputs_.limits.per_server) return true;
    wait_ = RepairWait::kBusy;
    return false;
  }
  RepairAction rejoin(const pb::Piece& piece) const {
    return {.chunk = ChunkId::from_raw(request_.chunk.id()),
            .piece = piece.index(),
            .kind = RepairKind::kRejoin,
            .cs = NodeId::from_raw(piece.cs_id()),
            .pending = is_pending(request_.chunk),
            .why = why_rejoin(piece)};
  }
  std::optional<RepairAction> replace(const pb::Piece& piece) {
    Search search = find_place(piece.index(), request_, inputs_);
    if (search.cs.has_value()) {
      return RepairAction{.chunk = ChunkId::from_raw(request_.chunk.id()),
                          .piece = piece.index(),
                          .kind = RepairKind::kPlace,
                          .cs = *search.cs,
                          .pending = is_pending(request_.chunk),
                          .why = why_place(piece, request_, inputs_.servers)};
    }
    if (search.busy) {
      wait_ = RepairWait::kBusy;
    } else if (wait_ != RepairWait::kBusy) {
      wait_ = RepairWait::kNoPlace;
      why_ = std::move(search.why);
    }
    return std::nullopt;
  }

  const RepairRequest& request_;
  const RepairInputs& inputs_;
  std::vector<Missing> missing_;
  RepairWait wait_ = RepairWait::kNothing;
  std::string why_;
};

}  // namespace

std::string_view repair_wait_text(RepairWait wait) {
  switch (wait) {
    case RepairWait::kNothing:
      return "no piece is missing";
    case RepairWait::kTooFewPieces:
      return "fewer pieces than the data needs can be read";
    case RepairWait::kServerAway:
      return "the chunk server is inactive and may come back";
    case RepairWait::kNoPlace:
      return "no chunk server can take the piece";
    case RepairWait::kBusy:
      return "others are repaired first";
  }
  return "unknown";
}

bool is_pending(const pb::Chunk& chunk) {
  return live(chunk) < std::max(chunk.encoding().min(), chunk.encoding().data());
}

std::optional<RepairRank> rank_of(const pb::Chunk& chunk) {
  const unsigned left = live(chunk);
  if (left == static_cast<unsigned>(chunk.pieces_size())) return std::nullopt;
  return RepairRank{.at_minimum = !is_pending(chunk),
                    .spare = static_cast<int>(left) - static_cast<int>(chunk.encoding().data()),
                    .chunk = ChunkId::from_raw(chunk.id())};
}

RepairPlan plan_repairs(const std::vector<RepairRequest>& chunks, const RepairInputs& inputs) {
  std::vector<std::pair<RepairRank, const RepairRequest*>> order;
  RepairPlan plan;
  for (const RepairRequest& request : chunks) {
    const std::optional<RepairRank> rank = rank_of(request.chunk);
    if (rank.has_value()) {
      order.emplace_back(*rank, &request);
    } else {
      plan.waiting.push_back({.chunk = ChunkId::from_raw(request.chunk.id()), .why = {}});
    }
  }
  std::ranges::sort(order);
  RepairServers servers = inputs.servers;
  RepairInputs now{.servers = servers,
                   .removal_queued = inputs.removal_queued,
                   .seed = inputs.seed,
                   .under_way = inputs.under_way,
                   .limits = inputs.limits};
  for (const auto& [rank, request] : order) {
    if (now.under_way >= now.limits.chunks) {
      plan.waiting.push_back({.chunk = rank.chunk, .wait = RepairWait::kBusy, .why = {}});
      continue;
    }
    Chooser chooser(*request, now);
    std::optional<RepairAction> action = chooser.choose();
    if (!action.has_value()) {
      plan.waiting.push_back({.chunk = rank.chunk, .wait = chooser.wait(), .why = chooser.why()});
      continue;
    }
    ++now.under_way;
    ++servers.at(action->cs.raw()).repairs;
    plan.actions.push_back(std::move(*action));
  }
  return plan;
}

std::optional<RepairWait> why_waiting(const RepairRequest& request, const RepairServers& servers) {
  bool missing = false;
  bool homeless = false;
  if (readable(request.chunk, servers) < request.chunk.encoding().data()) {
    return rank_of(request.chunk).has_value() ? RepairWait::kTooFewPieces : RepairWait::kNothing;
  }
  for (const pb::Piece& piece : request.chunk.pieces()) {
    if (piece.state() != pb::PIECE_MISSING) continue;
    missing = true;
    const Fate fate = fate_of(piece, request, servers);
    if (fate == Fate::kRejoin || fate == Fate::kReplaceOrRejoin) return std::nullopt;
    if (fate == Fate::kAwait) continue;
    homeless = true;
    const Taken taken = taken_by_others(piece.index(), request, servers);
    const bool any = std::ranges::any_of(
        servers, [&](const auto& at) { return fit_of(at.second, request, taken) == Fit::kYes; });
    if (any) return std::nullopt;
  }
  if (!missing) return RepairWait::kNothing;
  return homeless ? RepairWait::kNoPlace : RepairWait::kServerAway;
}

}  // namespace cairn::mds::master
