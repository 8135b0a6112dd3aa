// Random writers, recoveries and repairs against an independent model of the chunk map, and the
// promises that hold whatever the model says.
#include <array>

#include "common/base/prng.h"
#include "mds/state/testing/chunk_model.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state {
namespace {

using testing::ChunkModel;
using testing::Cluster;
using testing::code_of;

constexpr std::uint64_t kBigSize = 1ULL << 40;
constexpr std::uint32_t kServers = 9;

enum class Act { kOpen, kDrop, kMark, kClose, kPlace, kRepair, kOther };

class RandomChunks {
 public:
  explicit RandomChunks(std::uint64_t seed) : prng_(seed) {
    for (std::uint64_t i = 1; i <= kServers; ++i) servers_.push_back(c_.add_cs(i));
    for (const char* process : {"a", "b"}) sessions_.push_back(c_.open_session(process));
    add_file("a", 4, 2, 5);
    add_file("b", 1, 2, 2);
    add_file("c", 2, 1, 2);
  }

  void run(int steps, int check_every) {
    for (int i = 1; i <= steps && !::testing::Test::HasFailure(); ++i) {
      step();
      if (i % check_every == 0) c_.expect_sound();
    }
    c_.expect_sound();
  }
  const std::map<std::string, int>& done() const { return done_; }

 private:
  void add_file(const char* name, unsigned data, unsigned parity, unsigned min) {
    const std::uint64_t inode = c_.file(sessions_[0], Cluster::kRoot, name);
    c_.set_policy(inode, data, parity, min);
    model_.add_file(inode, {.data = data, .min = min, .pieces = data + parity});
    const std::uint64_t epoch = c_.grant(sessions_[0], inode).lease_epoch();
    EXPECT_EQ(model_.grant(sessions_[0], inode), ChunkModel::kDone);
    c_.commit(sessions_[0], inode, epoch, kBigSize);
    files_.push_back(inode);
  }

  // ---- choices, mostly sensible ----

  std::uint64_t any(const std::vector<std::uint64_t>& of) { return of[prng_.below(of.size())]; }
  ChunkModel::Claim any_claim(std::uint64_t inode) {
    const ChunkModel::File& file = model_.files().at(inode);
    ChunkModel::Claim claim{file.holder, inode, file.epoch};
    if (claim.session == 0 || prng_.chance(50)) claim.session = any(sessions_);
    if (prng_.chance(50)) claim.epoch = prng_.below(claim.epoch + 2);
    return claim;
  }
  // One that is there; sometimes one that was, or will be.
  std::uint64_t any_chunk() {
    const auto& chunks = model_.chunks();
    if (chunks.empty() || prng_.chance(30)) return prng_.below(model_.next_chunk() + 1);
    auto it = chunks.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(chunks.size())));
    return it->first;
  }
  const ChunkModel::Chunk* find(std::uint64_t id) const {
    const auto it = model_.chunks().find(id);
    return it == model_.chunks().end() ? nullptr : &it->second;
  }
  std::uint64_t file_of(std::uint64_t id) {
    const ChunkModel::Chunk* chunk = find(id);
    return chunk != nullptr && !prng_.chance(20) ? chunk->inode : any(files_);
  }
  std::uint64_t any_version(std::uint64_t id) {
    const ChunkModel::Chunk* chunk = find(id);
    const std::uint64_t version = chunk == nullptr ? 1 : chunk->version;
    return prng_.chance(850) ? version : version + prng_.below(3) - 1;
  }
  std::uint32_t any_mask(std::uint64_t id) {
    const ChunkModel::Chunk* chunk = find(id);
    const std::size_t pieces = chunk == nullptr ? 1 : chunk->pieces.size();
    std::uint32_t mask = 0;
    for (std::size_t i = 0; i < pieces; ++i) mask |= prng_.chance(250) ? 1U << i : 0;
    return mask;
  }
  std::uint64_t any_regions() {
    if (prng_.chance(100)) return 0;
    std::uint64_t regions = 1ULL << prng_.below(64);
    if (prng_.chance(300)) regions |= prng_.next() & prng_.next();
    return regions;
  }
  std::vector<std::uint32_t> any_places(unsigned pieces) {
    std::vector<std::uint32_t> places = servers_;
    for (std::size_t i = places.size() - 1; i > 0; --i) {
      std::swap(places[i], places[prng_.below(i + 1)]);
    }
    places.resize(pieces);
    for (std::uint32_t& place : places) place = prng_.chance(80) ? 0 : place;
    return places;
  }

  // ---- commands ----

  void expect(Code model, Code machine, const char* what) {
    ASSERT_EQ(static_cast<std::uint32_t>(machine), static_cast<std::uint32_t>(model)) << what;
    if (model == ChunkModel::kDone) ++done_[what];
  }
  void open() {
    const std::uint64_t inode = any(files_);
    const ChunkModel::Claim claim = any_claim(inode);
    pb::OpenChunk op;
    op.set_inode(inode);
    op.set_epoch(claim.epoch);
    op.set_index(prng_.below(2));
    const unsigned pieces = model_.files().at(inode).pieces;
    op.set_touch(static_cast<std::uint32_t>(prng_.next()) & ((1U << pieces) - 1));
    const std::vector<std::uint32_t> places = any_places(pieces);
    const pb::ClientReply reply = c_.open_chunk(claim.session, op, places);
    expect(model_.open(claim, op.index(), op.touch(), places), code_of(reply.error()), "open");
  }
  void drop(bool only_regions) {
    const std::uint64_t id = any_chunk();
    const ChunkModel::Claim claim = any_claim(file_of(id));
    const ChunkModel::Drop what{id, any_version(id), only_regions ? 0 : any_mask(id),
                                any_regions()};
    pb::ClientRequest request;
    pb::DropPieces& op = *request.mutable_drop_pieces();
    op.set_inode(claim.inode);
    op.set_epoch(claim.epoch);
    op.set_chunk(what.chunk);
    op.set_version(what.version);
    op.set_pieces(what.pieces);
    op.set_regions(what.regions);
    expect(model_.drop(claim, what), code_of(c_.mutate(claim.session, request).error()),
           only_regions ? "mark" : "drop");
  }
  void close() {
    const std::uint64_t id = any_chunk();
    const ChunkModel::Claim claim = any_claim(file_of(id));
    pb::ClientRequest request;
    pb::CloseChunk& op = *request.mutable_close_chunk();
    op.set_inode(claim.inode);
    op.set_epoch(claim.epoch);
    op.set_chunk(id);
    op.set_next_seq(prng_.below(1000));
    expect(model_.close(claim, id, op.next_seq()),
           code_of(c_.mutate(claim.session, request).error()), "close");
  }
  ChunkModel::Repair any_repair() {
    const std::uint64_t id = any_chunk();
    ChunkModel::Repair repair{.chunk = id, .version = any_version(id)};
    if (const ChunkModel::Chunk* chunk = find(id)) {
      repair.piece = static_cast<unsigned>(prng_.below(chunk->pieces.size()));
      for (unsigned i = 0; i < chunk->pieces.size(); ++i) {
        if (chunk->pieces[i].state == ChunkModel::State::kMissing) repair.piece = i;
      }
      repair.cs = chunk->pieces[repair.piece].cs;
    }
    if (repair.cs == 0 || prng_.chance(100)) repair.cs = servers_[prng_.below(kServers)];
    repair.next_seq = prng_.below(1000);
    return repair;
  }
  void place() {
    ChunkModel::Repair repair = any_repair();
    if (prng_.chance(900)) repair.cs = servers_[prng_.below(kServers)];
    pb::Command command;
    pb::PlacePiece& op = *command.mutable_place_piece();
    op.set_chunk(repair.chunk);
    op.set_version(repair.version);
    op.set_piece(repair.piece);
    op.set_cs_id(repair.cs);
    expect(model_.place(repair), code_of(c_.apply(command).error()), "place");
  }
  void finish_repair() {
    const ChunkModel::Repair repair = any_repair();
    pb::Command command;
    pb::FinishRepair& op = *command.mutable_finish_repair();
    op.set_chunk(repair.chunk);
    op.set_version(repair.version);
    op.set_piece(repair.piece);
    op.set_cs_id(repair.cs);
    op.set_next_seq(repair.next_seq);
    expect(model_.finish_repair(repair), code_of(c_.apply(command).error()), "finish_repair");
  }
  void recover() {
    const std::uint64_t id = any_chunk();
    if (prng_.chance(500)) {
      expect(model_.begin_recovery(id), code_of(c_.begin_recovery(id).error()), "begin_recovery");
      return;
    }
    const ChunkModel::Drop what{id, any_version(id), any_mask(id), any_regions()};
    pb::Command command;
    pb::FinishRecovery& op = *command.mutable_finish_recovery();
    op.set_chunk(what.chunk);
    op.set_version(what.version);
    op.set_unreachable(what.pieces);
    op.set_regions(what.regions);
    expect(model_.finish_recovery(what), code_of(c_.apply(command).error()), "finish_recovery");
  }
  void lease() {
    const std::uint64_t inode = any(files_);
    if (prng_.chance(600)) {
      const std::uint64_t session = any(sessions_);
      expect(model_.grant(session, inode), code_of(c_.grant(session, inode).error()), "grant");
      return;
    }
    const ChunkModel::Claim claim = any_claim(inode);
    const bool unsettled = prng_.chance(500);
    expect(model_.release(claim, unsettled),
           code_of(c_.release(claim.session, inode, claim.epoch, unsettled).error()), "release");
  }
  void truncate() {
    const ChunkModel::Claim claim = any_claim(any(files_));
    expect(model_.truncate(claim),
           code_of(c_.truncate(claim.session, claim.inode, claim.epoch, 0).error()), "truncate");
    c_.commit(claim.session, claim.inode, claim.epoch, kBigSize);
  }
  void report_removed() {
    if (model_.removals().empty()) return;
    auto it = model_.removals().begin();
    std::advance(it, static_cast<std::ptrdiff_t>(prng_.below(model_.removals().size())));
    const auto [cs, chunk, piece] = it->first;
    const std::uint64_t version = prng_.chance(700) ? it->second : prng_.below(it->second + 2);
    pb::Command command;
    command.mutable_pieces_removed()->set_cs_id(cs);
    pb::PieceRef& ref = *command.mutable_pieces_removed()->add_pieces();
    ref.set_chunk(chunk);
    ref.set_piece(piece);
    ref.set_version(version);
    c_.apply(command);
    model_.removed(cs, chunk, piece, version);
    ++done_["removed"];
  }

  void step() {
    const std::map<std::uint64_t, pb::Chunk> before = stored();
    const std::uint64_t dice = prng_.below(100);
    Act act = Act::kOther;
    if (dice < 25) {
      act = Act::kOpen;
      open();
    } else if (dice < 37) {
      act = Act::kDrop;
      drop(false);
    } else if (dice < 45) {
      act = Act::kMark;
      drop(true);
    } else if (dice < 55) {
      act = Act::kClose;
      close();
    } else if (dice < 67) {
      act = Act::kPlace;
      place();
    } else if (dice < 80) {
      act = Act::kRepair;
      finish_repair();
    } else if (dice < 88) {
      recover();
    } else if (dice < 95) {
      lease();
    } else if (dice < 99) {
      report_removed();
    } else {
      truncate();
    }
    if (::testing::Test::HasFailure()) return;
    const std::map<std::uint64_t, pb::Chunk> after = stored();
    compare(after);
    for (const auto& [id, chunk] : after) {
      const auto old = before.find(id);
      if (old != before.end()) check_promises(act, old->second, chunk);
    }
  }

  // ---- what is right ----

  std::map<std::uint64_t, pb::Chunk> stored() const {
    std::map<std::uint64_t, pb::Chunk> chunks;
    EXPECT_TRUE(queries::each_chunk(c_.kv(), [&](const pb::Chunk& chunk) {
                  chunks.emplace(chunk.id(), chunk);
                  return true;
                }).has_value());
    return chunks;
  }
  void compare(const std::map<std::uint64_t, pb::Chunk>& after) {
    ASSERT_EQ(after.size(), model_.chunks().size());
    for (const auto& [id, chunk] : after) {
      const ChunkModel::Chunk* wanted = find(id);
      ASSERT_NE(wanted, nullptr) << id;
      EXPECT_EQ(chunk.version(), wanted->version) << id;
      EXPECT_EQ(chunk.writer_epoch(), wanted->writer) << id;
      EXPECT_EQ(chunk.seq_floor(), wanted->floor) << id;
      ASSERT_EQ(static_cast<std::size_t>(chunk.pieces_size()), wanted->pieces.size());
      for (const pb::Piece& piece : chunk.pieces()) {
        const ChunkModel::Piece& of = wanted->pieces[piece.index()];
        EXPECT_EQ(static_cast<int>(piece.state()), static_cast<int>(of.state)) << id;
        EXPECT_EQ(piece.cs_id(), of.cs) << id;
        EXPECT_EQ(piece.missed(), of.missed) << id;
      }
    }
    std::size_t queued = 0;
    for (const std::uint32_t cs : servers_) {
      const auto removals = queries::removals(c_.kv(), NodeId::from_raw(cs), 1'000'000);
      ASSERT_TRUE(removals.has_value());
      for (const pb::PieceRef& ref : *removals) {
        const auto wanted = model_.removals().find({cs, ref.chunk(), ref.piece()});
        ASSERT_NE(wanted, model_.removals().end());
        EXPECT_EQ(ref.version(), wanted->second);
      }
      queued += removals->size();
    }
    EXPECT_EQ(queued, model_.removals().size());
  }

  void check_promises(Act act, const pb::Chunk& before, const pb::Chunk& after) {
    unsigned live = 0;
    bool set_changed = false;
    for (const pb::Piece& piece : after.pieces()) {
      const pb::Piece& old = before.pieces(static_cast<int>(piece.index()));
      if (piece.state() != pb::PIECE_MISSING) ++live;
      if (piece.state() == pb::PIECE_CURRENT && old.state() != pb::PIECE_CURRENT) {
        const bool touched = act == Act::kOpen && old.state() == pb::PIECE_UNWRITTEN;
        EXPECT_TRUE(touched || act == Act::kRepair) << "a piece became current";
      }
      const bool was_missing = old.state() == pb::PIECE_MISSING;
      set_changed |= was_missing != (piece.state() == pb::PIECE_MISSING);
      set_changed |= old.cs_id() != piece.cs_id();
      const bool forgets = (old.missed() & ~piece.missed()) != 0;
      EXPECT_TRUE(!forgets || act == Act::kRepair) << "regions were forgotten";
    }
    EXPECT_GE(live, after.encoding().data()) << "the chunk cannot be read any more";
    EXPECT_GE(after.version(), before.version());
    EXPECT_TRUE(!set_changed || after.version() > before.version()) << "no new version";
    EXPECT_GE(after.seq_floor(), before.seq_floor());
  }

  Prng prng_;
  Cluster c_ = Cluster::made();
  ChunkModel model_;
  std::vector<std::uint32_t> servers_;
  std::vector<std::uint64_t> sessions_;
  std::vector<std::uint64_t> files_;
  std::map<std::string, int> done_;
};

TEST(Chunks, RandomProgramsAgreeWithTheModel) {
  std::map<std::string, int> done;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomChunks program(seed);
    program.run(1000, 50);
    if (::testing::Test::HasFailure()) return;
    for (const auto& [what, times] : program.done()) done[what] += times;
  }
  // Worth something only if everything gets through, often.
  EXPECT_EQ(done.size(), 12U);
  for (const auto& [what, times] : done) EXPECT_GT(times, 100) << what;
}

}  // namespace
}  // namespace cairn::mds::state
