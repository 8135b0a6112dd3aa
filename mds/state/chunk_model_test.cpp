// Random writers, recoveries, repairs and conversions against an independent model of the chunk
// map, and the promises that hold whatever the model says.
#include <array>

#include "common/base/prng.h"
#include "mds/state/testing/chunk_checks.h"

namespace cairn::mds::state {
namespace {

using testing::Act;
using testing::ChunkModel;
using testing::Cluster;
using testing::code_of;

constexpr std::uint64_t kBigSize = 1ULL << 40;
constexpr std::uint32_t kServers = 9;

// More than these, and the oldest that have no name are purged.
constexpr std::size_t kFilesMax = 9;
constexpr std::array<ChunkModel::Coding, 4> kCodings = {
    {{4, 5, 6}, {1, 2, 3}, {2, 2, 3}, {1, 1, 2}}};

class RandomChunks {
 public:
  explicit RandomChunks(std::uint64_t seed) : prng_(seed) {
    for (std::uint64_t i = 1; i <= kServers; ++i) servers_.push_back(c_.add_cs(i));
    for (const char* process : {"a", "b"}) sessions_.push_back(c_.open_session(process));
    for (const ChunkModel::Coding& coding : {kCodings[0], kCodings[1], kCodings[2]})
      add_file(coding);
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
  pb::CommandReply send_policy(std::uint64_t inode, ChunkModel::Coding to, bool keep_data) {
    pb::Command command;
    pb::SetPolicyCommand& op = *command.mutable_set_policy();
    op.add_inodes(inode);
    pb::Encoding& encoding = *op.mutable_policy()->mutable_encoding();
    encoding.set_data(to.data);
    encoding.set_parity(to.pieces - to.data);
    encoding.set_min(to.min);
    op.set_keep_data(keep_data);
    return c_.apply(command);
  }
  // With a name that is its number, held and sized.
  void add_file(ChunkModel::Coding coding) {
    const std::string name = std::to_string(c_.counters().next_inode());
    const std::uint64_t inode = c_.file(sessions_[0], Cluster::kRoot, name);
    EXPECT_EQ(std::to_string(inode), name);
    send_policy(inode, coding, false);
    model_.add_file(inode, coding);
    const std::uint64_t epoch = c_.grant(sessions_[0], inode).lease_epoch();
    EXPECT_EQ(model_.grant(sessions_[0], inode), ChunkModel::kDone);
    size({sessions_[0], inode, epoch}, kBigSize);
    files_.push_back(inode);
  }
  void size(ChunkModel::Claim claim, std::uint64_t bytes) {
    const pb::ClientReply reply = c_.commit(claim.session, claim.inode, claim.epoch, bytes);
    expect(model_.commit(claim, bytes), code_of(reply.error()), "commit");
  }

  // ---- choices, mostly sensible ----

  std::uint64_t any(const std::vector<std::uint64_t>& of) { return of[prng_.below(of.size())]; }
  // Sometimes one that was purged.
  std::uint64_t any_file() { return prng_.chance(10) ? purged_ : any(files_); }
  const ChunkModel::File* file_at(std::uint64_t inode) const {
    const auto it = model_.files().find(inode);
    return it == model_.files().end() ? nullptr : &it->second;
  }
  // One that makes sense for a shadow, most of the time.
  std::uint64_t any_shadow() {
    std::vector<std::uint64_t> shadows;
    for (const std::uint64_t inode : files_) {
      if (model_.files().at(inode).shadow_of != 0) shadows.push_back(inode);
    }
    return shadows.empty() || prng_.chance(50) ? any_file() : any(shadows);
  }
  ChunkModel::Coding any_coding() { return kCodings[prng_.below(kCodings.size())]; }
  ChunkModel::Claim any_claim(std::uint64_t inode) {
    const ChunkModel::File* file = file_at(inode);
    ChunkModel::Claim claim{.inode = inode};
    if (file != nullptr) claim = {file->holder, inode, file->epoch};
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
    return chunk != nullptr && !prng_.chance(20) ? chunk->inode : any_file();
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
    const std::uint64_t inode = any_file();
    const ChunkModel::Claim claim = any_claim(inode);
    pb::OpenChunk op;
    op.set_inode(inode);
    op.set_epoch(claim.epoch);
    op.set_index(prng_.below(2));
    const ChunkModel::File* file = file_at(inode);
    const unsigned pieces = file == nullptr ? 3 : file->coding().pieces;
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
  void grant(std::uint64_t session, std::uint64_t inode) {
    expect(model_.grant(session, inode), code_of(c_.grant(session, inode).error()), "grant");
  }
  void release(ChunkModel::Claim claim, bool unsettled) {
    const pb::ClientReply reply = c_.release(claim.session, claim.inode, claim.epoch, unsettled);
    expect(model_.release(claim, unsettled), code_of(reply.error()), "release");
  }
  void lease() {
    const std::uint64_t inode = any_file();
    if (prng_.chance(600)) {
      grant(any(sessions_), inode);
    } else {
      release(any_claim(inode), prng_.chance(500));
    }
  }
  void truncate() {
    const ChunkModel::Claim claim = any_claim(any_file());
    const pb::ClientReply reply = c_.truncate(claim.session, claim.inode, claim.epoch, 0);
    expect(model_.truncate(claim, 0), code_of(reply.error()), "truncate");
    size(claim, kBigSize);
  }

  // ---- conversions ----

  void set_policy() {
    const std::uint64_t inode = any_file();
    const ChunkModel::Coding to = any_coding();
    const bool keep = prng_.chance(200);
    const pb::CommandReply reply = send_policy(inode, to, keep);
    const pb::SetPolicyReply& answer = reply.set_policy();
    const ChunkModel::Queued wanted = model_.set_policy(inode, to, keep);
    EXPECT_EQ(answer.changed(), wanted.changed);
    EXPECT_EQ(answer.converting(), wanted.converting);
    EXPECT_EQ(answer.keep_layout(), wanted.keep);
    EXPECT_EQ(answer.warnings_size(), 0);
    if (wanted.converting != 0) ++done_["convert"];
    if (wanted.keep != 0) ++done_["keep"];
  }
  void make_shadow() {
    std::vector<std::uint64_t> wanted;
    for (const std::uint64_t inode : files_) {
      if (model_.files().at(inode).wanted) wanted.push_back(inode);
    }
    const std::uint64_t inode = wanted.empty() || prng_.chance(50) ? any_file() : any(wanted);
    const std::uint64_t session = any(sessions_);
    const pb::ClientReply reply = c_.make_shadow(session, inode);
    const std::uint64_t shadow = reply.make_node().attributes().inode();
    expect(model_.make_shadow(session, inode, shadow), code_of(reply.error()), "make_shadow");
    if (code_of(reply.error()) != ChunkModel::kDone) return;
    files_.push_back(shadow);
    size({session, shadow, reply.make_node().epoch()}, prng_.chance(50) ? 2 * kBigSize : kBigSize);
  }
  // What a converter does before: flush the shadow, and take the source from who has it.
  void prepare_swap(std::uint64_t source, std::uint64_t shadow) {
    for (const std::uint64_t inode : {source, shadow}) {
      const ChunkModel::File* of = file_at(inode);
      if (of != nullptr && of->holder != 0) release({of->holder, inode, of->epoch}, false);
      recover_all(inode);
    }
    grant(any(sessions_), source);
  }
  void recover_all(std::uint64_t inode) {
    for (const auto& [id, chunk] : std::map<std::uint64_t, ChunkModel::Chunk>(model_.chunks())) {
      if (chunk.inode != inode || chunk.writer == 0) continue;
      expect(model_.begin_recovery(id), code_of(c_.begin_recovery(id).error()), "begin_recovery");
      const std::uint64_t version = find(id)->version;
      expect(model_.finish_recovery({.chunk = id, .version = version}),
             code_of(c_.finish_recovery(id, version).error()), "finish_recovery");
    }
  }
  void swap() {
    const std::uint64_t shadow = any_shadow();
    const ChunkModel::File* of = file_at(shadow);
    const bool sense = of != nullptr && of->shadow_of != 0 && !prng_.chance(50);
    const std::uint64_t source = sense ? of->shadow_of : any_file();
    if (prng_.chance(500)) prepare_swap(source, shadow);
    const ChunkModel::Claim claim = any_claim(source);
    const pb::ClientReply reply = c_.swap_data(claim.session, source, claim.epoch, shadow);
    expect(model_.swap(claim, shadow), code_of(reply.error()), "swap");
  }
  void unlink() {
    const std::uint64_t inode = any(files_);
    if (!model_.files().at(inode).named) return;
    c_.unlink(sessions_[0], Cluster::kRoot, std::to_string(inode));
    model_.unlink(inode);
    add_file(any_coding());
    ++done_["unlink"];
  }
  void purge(std::uint64_t inode) {
    const std::uint32_t chunks = static_cast<std::uint32_t>(1 + prng_.below(2));
    const pb::CommandReply reply = c_.purge(inode, chunks);
    const Code wanted = model_.purge(inode, chunks);
    EXPECT_EQ(reply.purged(), wanted == ChunkModel::kDone);
    EXPECT_EQ(code_of(reply.error()),
              wanted == Code::kRefusedForSafety ? wanted : ChunkModel::kDone);
    if (wanted != ChunkModel::kDone || std::erase(files_, inode) == 0) return;
    purged_ = inode;
    ++done_["purge"];
  }
  void purge_some() {
    purge(any_file());
    for (const std::uint64_t inode : std::vector<std::uint64_t>(files_)) {
      if (files_.size() > kFilesMax && !model_.files().at(inode).named) purge(inode);
    }
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

  Act act_once() {
    const std::uint64_t dice = prng_.below(1000);
    if (dice < 250) {
      open();
      return Act::kOpen;
    }
    if (dice < 370) {
      finish_repair();
      return Act::kRepair;
    }
    if (dice < 410) {
      swap();
      return Act::kSwap;
    }
    if (dice < 480) {
      drop(false);
    } else if (dice < 550) {
      drop(true);
    } else if (dice < 640) {
      close();
    } else if (dice < 750) {
      place();
    } else if (dice < 810) {
      recover();
    } else if (dice < 860) {
      lease();
    } else if (dice < 890) {
      report_removed();
    } else if (dice < 920) {
      set_policy();
    } else if (dice < 950) {
      make_shadow();
    } else if (dice < 980) {
      purge_some();
    } else if (dice < 990) {
      truncate();
    } else {
      unlink();
    }
    return Act::kOther;
  }
  void step() {
    const std::map<std::uint64_t, pb::Chunk> before = testing::stored_chunks(c_);
    const Act act = act_once();
    if (::testing::Test::HasFailure()) return;
    const std::map<std::uint64_t, pb::Chunk> after = testing::stored_chunks(c_);
    testing::expect_as_modelled(c_, model_, servers_, after);
    for (const auto& [id, chunk] : after) {
      const auto old = before.find(id);
      if (old != before.end()) testing::expect_promises(act, old->second, chunk);
    }
  }

  Prng prng_;
  Cluster c_ = Cluster::made();
  ChunkModel model_;
  std::vector<std::uint32_t> servers_;
  std::vector<std::uint64_t> sessions_;
  std::vector<std::uint64_t> files_;
  std::uint64_t purged_ = 1000;
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
  EXPECT_EQ(done.size(), 19U);
  for (const auto& [what, times] : done) EXPECT_GT(times, 100) << what;
}

}  // namespace
}  // namespace cairn::mds::state
