#include "tests/sim/chunk_checker.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/erasure/codec.h"
#include "mds/state/invariants.h"
#include "mds/state/keys.h"
#include "mds/state/rows.h"

namespace cairn::sim {

namespace {

namespace keys = mds::state::keys;
using chunkserver::store::BlockRange;
using chunkserver::store::PieceStore;

constexpr Duration kLimit = 120s;

struct Calls {
  static Task<void> read(PieceStore* store, PieceId piece, std::uint64_t blocks,
                         Result<chunkserver::store::ReadAnswer>* answer) {
    std::vector<BlockRange> ranges{{0, blocks}};
    *answer = co_await store->read(piece, std::move(ranges), true);
  }
  static Task<void> list(PieceStore* store, std::vector<PieceId>* pieces, Status* status) {
    std::optional<PieceId> last;
    for (;;) {
      const Result<std::optional<PieceId>> next = co_await store->next_piece(last);
      if (!next.has_value()) *status = fail(next.error());
      if (!next.has_value() || !next->has_value()) co_return;
      last = **next;
      pieces->push_back(*last);
    }
  }
};

std::string name_of(const pb::Chunk& chunk, unsigned piece) {
  return "chunk " + std::to_string(chunk.id()) + " (inode " + std::to_string(chunk.inode()) +
         ", index " + std::to_string(chunk.index()) + ", version " +
         std::to_string(chunk.version()) + ") piece " + std::to_string(piece) + " at cs" +
         std::to_string(chunk.pieces(static_cast<int>(piece)).cs_id() - kFirstCsId.raw());
}

}  // namespace

ChunkChecker::ChunkChecker(SimWorld& world, SimCluster& cluster, DataFiles& files)
    : world_(world), cluster_(cluster), files_(files) {}

bool ChunkChecker::run(Task<void> task) {
  runtime::TaskGroup group(cluster_.admin_runtime());
  group.spawn(std::move(task));
  const bool done = world_.run_until([&] { return group.running() == 0; }, kLimit);
  CHECK(done);
  return done;
}

unsigned ChunkChecker::index_of(std::uint32_t cs_id) const {
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    if (cluster_.cs_id(i) == cs_id) return i;
  }
  CHECK(false);
  return 0;
}

std::vector<pb::Chunk> ChunkChecker::chunks() {
  std::vector<pb::Chunk> all;
  SimMds* master = cluster_.master();
  if (master == nullptr) return all;
  const Status status =
      mds::state::rows::each<pb::Chunk>(master->tables(), keys::all_of(keys::Table::kChunk), "",
                                        [&](std::string_view, pb::Chunk chunk) {
                                          all.push_back(std::move(chunk));
                                          return true;
                                        });
  CHECK(status.has_value());
  return all;
}

int ChunkChecker::spare_without(std::uint32_t cs_mask) {
  int least = INT_MAX;
  for (const pb::Chunk& chunk : chunks()) {
    int live = 0;
    for (const pb::Piece& piece : chunk.pieces()) {
      if (piece.state() == pb::PIECE_MISSING) continue;
      if (piece.cs_id() != 0 && (cs_mask >> index_of(piece.cs_id()) & 1U) != 0) continue;
      ++live;
    }
    least = std::min(least, live - static_cast<int>(chunk.encoding().data()));
  }
  return least;
}

ChunkChecker::Content* ChunkChecker::read_piece(const pb::Chunk& chunk, unsigned index,
                                                Verdict* verdict) {
  const pb::Piece& piece = chunk.pieces(static_cast<int>(index));
  Content& content = contents_[index];
  const std::uint64_t blocks = chunk.piece_bytes() / kBlockBytes;
  content.bytes.assign(chunk.piece_bytes(), std::byte{0});
  if (piece.state() == pb::PIECE_UNWRITTEN) return &content;
  PieceStore* store = cluster_.cs_store(index_of(piece.cs_id()));
  if (store == nullptr || store->failure().has_value()) {
    verdict->unfinished = name_of(chunk, index) + ": its store is not open";
    return nullptr;
  }
  Result<chunkserver::store::ReadAnswer> answer = fail(Code::kInternal, "not read");
  const PieceId id{ChunkId::from_raw(chunk.id()), PieceIndex(static_cast<std::uint8_t>(index))};
  run(Calls::read(store, id, blocks, &answer));
  if (!answer.has_value()) {
    const Code code = answer.error().code();
    const bool heals = code == Code::kChecksumMismatch || code == Code::kDiskFailed;
    (heals ? verdict->unfinished : verdict->wrong) =
        name_of(chunk, index) + ": " + answer.error().to_string();
    return nullptr;
  }
  std::size_t at = 0;
  for (const BlockRange& range : answer->present) {
    std::memcpy(content.bytes.data() + range.first * kBlockBytes, answer->bytes.span().data() + at,
                range.count * kBlockBytes);
    at += range.count * kBlockBytes;
  }
  content.written = true;
  return &content;
}

// Encodes the data anew (rebuilt from M current pieces, if need be) and compares everything.
std::string ChunkChecker::check_code(const pb::Chunk& chunk, std::map<unsigned, Content>& pieces) {
  const unsigned data = chunk.encoding().data();
  const unsigned parity = chunk.encoding().parity();
  const auto codec = erasure::Codec::get(data, parity);
  erasure::PieceMask have = 0;
  std::vector<std::vector<std::byte>> made(data + parity);
  std::vector<std::byte*> pointers;
  unsigned used = 0;
  for (unsigned i = 0; i < data + parity; ++i) {
    made[i].resize(chunk.piece_bytes());
    if (pieces.contains(i)) {
      have |= erasure::PieceMask{1} << i;
      if (used++ < data) made[i] = pieces[i].bytes;
    }
    pointers.push_back(made[i].data());
  }
  if (used < data) return {};
  // The first M of `have` are used; all others are computed.
  erasure::PieceMask first = 0;
  for (unsigned i = 0, n = 0; n < data; ++i) {
    if ((have >> i & 1U) == 0) continue;
    first |= erasure::PieceMask{1} << i;
    ++n;
  }
  const erasure::PieceMask all = (erasure::PieceMask{1} << (data + parity)) - 1;
  const Status rebuilt = codec->rebuild(first, all & ~first, pointers, chunk.piece_bytes());
  CHECK(rebuilt.has_value());
  for (auto& [index, content] : pieces) {
    const auto [a, b] = std::ranges::mismatch(content.bytes, made[index]);
    if (a == content.bytes.end()) {
      continue;
    }
    const auto at = static_cast<std::uint64_t>(a - content.bytes.begin());
    return name_of(chunk, index) + " does not fit the others at block " +
           std::to_string(at / kBlockBytes);
  }
  for (unsigned i = 0; i < data; ++i) pieces[i].bytes = std::move(made[i]);
  return {};
}

std::string ChunkChecker::check_data(const pb::Chunk& chunk, const DataModel& model,
                                     const std::map<unsigned, Content>& pieces) {
  const std::uint64_t cell = chunk.cell_bytes() / kBlockBytes;
  const std::uint64_t data = chunk.encoding().data();
  const std::uint64_t chunk_blocks = chunk.piece_bytes() / kBlockBytes * data;
  for (std::uint64_t i = 0; i < chunk_blocks; ++i) {
    const std::uint64_t block = chunk.index() * chunk_blocks + i;
    if (block * kBlockBytes >= model.size()) break;
    const auto piece = static_cast<unsigned>(i / cell % data);
    const std::uint64_t in_piece = i / (cell * data) * cell + i % cell;
    const Bytes bytes = Bytes(pieces.at(piece).bytes).subspan(in_piece * kBlockBytes, kBlockBytes);
    for (std::size_t s = 0; s < kSectorsPerBlock; ++s) {
      const std::uint64_t sector = block * kSectorsPerBlock + s;
      if (sector * kSector >= model.size()) break;
      const std::optional<Tag> tag = read_sector(bytes.subspan(s * kSector, kSector), sector);
      if (tag.has_value() && *tag == model.sector(sector)) continue;
      return name_of(chunk, piece) + ": sector " + std::to_string(sector) + " of the file is " +
             (tag.has_value() ? std::to_string(*tag) : "garbage") + " instead of " +
             std::to_string(model.sector(sector));
    }
  }
  return {};
}

void ChunkChecker::check_chunk(const pb::Chunk& chunk, const std::map<unsigned, InodeId>& inodes,
                               Verdict* verdict) {
  contents_.clear();
  for (unsigned i = 0; i < static_cast<unsigned>(chunk.pieces_size()); ++i) {
    if (chunk.pieces(static_cast<int>(i)).state() == pb::PIECE_MISSING) continue;
    if (read_piece(chunk, i, verdict) == nullptr) contents_.erase(i);
  }
  if (!verdict->wrong.empty()) return;
  std::map<unsigned, Content> pieces = std::move(contents_);
  if (pieces.size() < chunk.encoding().data()) {
    if (verdict->unfinished.empty()) {
      verdict->wrong = "chunk " + std::to_string(chunk.id()) + " has too few current pieces";
    }
    return;
  }
  verdict->wrong = check_code(chunk, pieces);
  if (!verdict->wrong.empty()) return;
  for (const auto& [slot, inode] : inodes) {
    if (inode.raw() != chunk.inode() || files_.slot(slot).model.doubtful()) continue;
    verdict->wrong = check_data(chunk, files_.slot(slot).model, pieces);
  }
}

void ChunkChecker::check_places(const std::vector<pb::Chunk>& chunks, Verdict* verdict) {
  std::map<std::pair<std::uint32_t, PieceId>, pb::PieceState> known;
  for (const pb::Chunk& chunk : chunks) {
    for (const pb::Piece& piece : chunk.pieces()) {
      const PieceId id{ChunkId::from_raw(chunk.id()),
                       PieceIndex(static_cast<std::uint8_t>(piece.index()))};
      known.emplace(std::pair(piece.cs_id(), id), piece.state());
    }
  }
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    PieceStore* store = cluster_.cs_store(i);
    if (store == nullptr) continue;
    std::vector<PieceId> pieces;
    Status status;
    run(Calls::list(store, &pieces, &status));
    if (!status.has_value()) {
      verdict->unfinished = SimCluster::cs_host(i) + ": " + status.error().to_string();
      continue;
    }
    for (const PieceId& piece : pieces) {
      const auto at = known.find({cluster_.cs_id(i), piece});
      if (at != known.end() && at->second != pb::PIECE_UNWRITTEN) continue;
      verdict->unfinished = SimCluster::cs_host(i) + " has piece " +
                            std::to_string(static_cast<unsigned>(piece.index.raw())) +
                            " of chunk " + std::to_string(piece.chunk.raw()) +
                            ", which the map does not place there";
    }
  }
}

// Since it was looked up: repair goes on in quiet times too.
bool ChunkChecker::changed(const pb::Chunk& chunk) {
  for (const pb::Chunk& now : chunks()) {
    if (now.id() == chunk.id()) return now.SerializeAsString() != chunk.SerializeAsString();
  }
  return true;
}

ChunkChecker::Verdict ChunkChecker::check(const std::map<unsigned, InodeId>& inodes,
                                          bool repaired) {
  Verdict verdict;
  SimMds* master = cluster_.master();
  if (master == nullptr) {
    verdict.unfinished = "there is no master";
    return verdict;
  }
  const auto broken = mds::state::check_invariants(master->tables(), 3);
  CHECK(broken.has_value());
  for (const std::string& one : *broken) verdict.wrong = "the tables: " + one;
  const std::vector<pb::Chunk> all = chunks();
  for (const pb::Chunk& chunk : all) {
    if (!verdict.wrong.empty()) return verdict;
    check_chunk(chunk, inodes, &verdict);
    if (!verdict.wrong.empty() && chunk.writer_epoch() != 0) {
      verdict.unfinished = std::exchange(verdict.wrong, "") + " (a converter writes it)";
    }
    if (!verdict.wrong.empty() && changed(chunk)) {
      verdict.unfinished = std::exchange(verdict.wrong, "") + " (it changed meanwhile)";
    }
    for (const pb::Piece& piece : chunk.pieces()) {
      if (!repaired || piece.state() != pb::PIECE_MISSING) continue;
      verdict.unfinished = name_of(chunk, piece.index()) + " is still missing";
    }
  }
  if (verdict.wrong.empty()) check_places(all, &verdict);
  return verdict;
}

std::vector<std::string> ChunkChecker::contradictions() {
  std::vector<std::string> found;
  for (const pb::Chunk& chunk : chunks()) {
    Verdict verdict;
    check_chunk(chunk, {}, &verdict);
    if (!verdict.wrong.empty()) found.push_back(verdict.wrong);
  }
  return found;
}

std::string ChunkChecker::leftovers() {
  const std::vector<pb::Chunk> left = chunks();
  if (!left.empty()) return "a chunk is left: " + left.front().ShortDebugString();
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    PieceStore* store = cluster_.cs_store(i);
    if (store == nullptr) return SimCluster::cs_host(i) + " has no open store";
    const chunkserver::store::StoreStatistics now = store->statistics();
    if (now.pieces == 0 && now.used_bytes == 0) continue;
    return SimCluster::cs_host(i) + " still has " + std::to_string(now.pieces) + " pieces, " +
           std::to_string(now.used_bytes) + " bytes";
  }
  return {};
}

}  // namespace cairn::sim
