// Writers that die, pieces that fail, repairs that come too late: whatever happens, a piece that
// the tables call current has every decided op, and no row mixes ops that were dropped.
//
// The state machine is the real one; writers, chunk servers and the repair are as small as
// docs/protocols/data-path.md lets them be. The hold of the master is left out on purpose: the
// tables alone must refuse what a repair copied before others went on writing.
#include <set>

#include "common/base/prng.h"
#include "mds/state/testing/cluster.h"
#include "mds/state/testing/disk_world.h"

namespace cairn::mds::state {
namespace {

using testing::bit;
using testing::Cluster;
using testing::code_of;
using testing::Content;
using testing::Disk;
using testing::mask;
using testing::Op;

constexpr std::uint64_t kBigSize = 1ULL << 40;
constexpr std::uint32_t kServers = 7;
const Code kDone = static_cast<Code>(0);

class World {
 public:
  World(std::uint64_t seed, unsigned data, unsigned parity, unsigned min) : prng_(seed) {
    for (std::uint64_t i = 1; i <= kServers; ++i) servers_.push_back(c_.add_cs(i));
    session_ = c_.open_session("writer");
    file_ = c_.file(session_, Cluster::kRoot, "f");
    c_.set_policy(file_, data, parity, min);
    pieces_ = data + parity;
    acquire();
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      step();
      check_truth();
    }
    check_leftovers();
    c_.expect_sound();
  }
  const std::map<std::string, int>& done() const { return done_; }

 private:
  void note(const char* what) {
    ++done_[what];
    trace_ += std::string(" ") + what;
    if (op_) trace_ += "(" + std::to_string(op_->id) + ")";
  }
  bool chance(std::uint32_t permille) { return prng_.chance(permille); }
  pb::Chunk stored() const { return queries::chunk(c_.kv(), kChunk).value_or(pb::Chunk()); }
  Disk* disk(const pb::Chunk& chunk, unsigned piece) {
    const auto it = disks_.find({chunk.pieces(static_cast<int>(piece)).cs_id(), chunk.id()});
    return it == disks_.end() ? nullptr : &it->second;
  }

  // ---- the writer: one op at a time, to all pieces ----

  void acquire() {
    const pb::CommandReply granted = c_.grant(session_, file_);
    if (code_of(granted.error()) != kDone) return;
    epoch_ = granted.lease_epoch();
    next_seq_ = 1;
    op_.reset();
    c_.commit(session_, file_, epoch_, kBigSize);
    note("grant");
  }
  void open() {
    const std::uint32_t before = mask(stored(), pb::PIECE_CURRENT);
    pb::OpenChunk request;
    request.set_inode(file_);
    request.set_epoch(epoch_);
    request.set_touch(bit(pieces_) - 1);
    const std::vector<std::uint32_t> places(servers_.begin(), servers_.begin() + pieces_);
    const pb::ClientReply reply = c_.open_chunk(session_, request, places);
    if (code_of(reply.error()) != kDone) return;
    if (map_.writer_epoch() != epoch_) create_ = 0;
    map_ = reply.open_chunk().chunk();
    create_ |= mask(map_, pb::PIECE_CURRENT) & ~before;
    next_seq_ = std::max(next_seq_, map_.seq_floor());
    note("open");
    // An op that waited for the minimum goes on, at the pieces that are current now.
    if (op_) op_->participants = mask(map_, pb::PIECE_CURRENT);
  }
  bool is_open() const { return epoch_ != 0 && map_.writer_epoch() == epoch_; }
  void begin_op() {
    op_ = Op{.epoch = epoch_,
             .seq = next_seq_++,
             .id = next_id_++,
             .regions = 1 + prng_.below((1U << testing::kTestRegions) - 1),
             .participants = mask(map_, pb::PIECE_CURRENT)};
    alive_.emplace(op_->id, op_->regions);
    note("op");
  }
  void send(unsigned piece) {
    if ((op_->participants & bit(piece)) == 0) return;
    const std::uint32_t cs = map_.pieces(static_cast<int>(piece)).cs_id();
    if (disk(map_, piece) == nullptr) {
      if ((create_ & bit(piece)) == 0) return;  // refused: kPieceMissing
      disks_[{cs, map_.id()}] = Disk{};
    }
    create_ &= ~bit(piece);
    Disk& at = *disk(map_, piece);
    if (chance(300)) at.settle({epoch_, op_->seq});
    at.prepare(map_.version(), *op_);
  }
  std::uint32_t holders() {
    std::uint32_t found = 0;
    for (unsigned i = 0; i < pieces_; ++i) {
      Disk* at = disk(map_, i);
      if ((op_->participants & bit(i)) != 0 && at != nullptr && at->holds(*op_)) found |= bit(i);
    }
    return found;
  }
  // All that are current have it, and all that are missing are told to miss it.
  bool quiet() {
    if (!op_) return true;
    if (holders() != mask(map_, pb::PIECE_CURRENT)) return false;
    for (const pb::Piece& piece : map_.pieces()) {
      const bool told = (op_->regions & ~piece.missed()) == 0;
      if (piece.state() == pb::PIECE_MISSING && !told) return false;
    }
    return true;
  }
  void decide() {
    const auto live = static_cast<unsigned>(__builtin_popcount(mask(map_, pb::PIECE_CURRENT)));
    if (!op_ || !quiet() || live < map_.encoding().min()) return;
    put(truth_, *op_);
    alive_.erase(op_->id);
    op_.reset();
    note("decide");
  }
  void drop(std::uint32_t pieces) {
    pb::ClientRequest request;
    pb::DropPieces& drop = *request.mutable_drop_pieces();
    drop.set_inode(file_);
    drop.set_epoch(epoch_);
    drop.set_chunk(map_.id());
    drop.set_version(map_.version());
    drop.set_pieces(pieces);
    drop.set_regions(op_->regions);
    const pb::ClientReply reply = c_.mutate(session_, request);
    if (code_of(reply.error()) == Code::kStaleVersion) return open();  // to see the new map
    if (code_of(reply.error()) != kDone) return;
    map_ = reply.open_chunk().chunk();
    op_->participants &= mask(map_, pb::PIECE_CURRENT);
    note(pieces == 0 ? "mark" : "drop");
  }
  void close() {
    if (!quiet()) return;
    pb::ClientRequest request;
    pb::CloseChunk& close = *request.mutable_close_chunk();
    close.set_inode(file_);
    close.set_epoch(epoch_);
    close.set_chunk(map_.id());
    close.set_next_seq(next_seq_);
    if (code_of(c_.mutate(session_, request).error()) != kDone) return;
    map_.set_writer_epoch(0);
    note(op_ ? "close_pending" : "close");
  }
  void give_back(bool unsettled) {
    if (!unsettled && op_) return;
    if (code_of(c_.release(session_, file_, epoch_, unsettled).error()) != kDone) {
      // A recovery took the epoch: the lease has another now.
      epoch_ = c_.inode(file_).lease_epoch();
      if (code_of(c_.release(session_, file_, epoch_, true).error()) != kDone) return;
    }
    op_.reset();
    if (stored().pieces_size() != 0 && stored().writer_epoch() == 0) lost_op_ends();
    epoch_ = 0;
    map_.set_writer_epoch(0);
    note(unsettled ? "lost" : "release");
  }
  void write_on() {
    if (epoch_ == 0) return acquire();
    if (!is_open()) return open();
    if (!op_) return begin_op();
    const std::uint64_t dice = prng_.below(10);
    const auto piece = static_cast<unsigned>(prng_.below(pieces_));
    if (dice < 4) {
      for (unsigned i = 0; i < pieces_; ++i) {
        if (chance(900)) send(i);
      }
    } else if (dice < 5) {
      send(piece);
    } else if (dice < 7) {
      const std::uint32_t failed = mask(map_, pb::PIECE_CURRENT) & ~holders();
      drop(failed != 0 ? failed : chance(300) ? bit(piece) : 0);
    } else {
      if (!quiet()) drop(0);
      if (op_) decide();
    }
  }

  // ---- the master ----

  struct Sealed {
    std::uint32_t pieces = 0;  // that answered
    std::vector<Op> ops;       // undecided somewhere, in order
  };
  Sealed seal(const pb::Chunk& chunk, std::uint64_t epoch) {
    Sealed sealed;
    std::map<std::pair<std::uint64_t, std::uint64_t>, Op> ops;
    for (const pb::Piece& piece : chunk.pieces()) {
      Disk* at = disk(chunk, piece.index());
      if (piece.state() != pb::PIECE_CURRENT || at == nullptr || chance(150)) continue;
      at->seal(chunk.version(), epoch);
      sealed.pieces |= bit(piece.index());
      for (const Op& op : at->undecided) ops.emplace(op.order(), op);
      for (const Op& op : at->forwarded) ops.emplace(op.order(), op);
    }
    for (const auto& [order, op] : ops) sealed.ops.push_back(op);
    return sealed;
  }
  // A piece that is not there was never written by anybody: too few of them were left to lose it.
  void make_empty(const pb::Chunk& chunk) {
    for (const pb::Piece& piece : chunk.pieces()) {
      if (piece.state() != pb::PIECE_CURRENT || disk(chunk, piece.index()) != nullptr) continue;
      Disk& made = disks_[{piece.cs_id(), chunk.id()}];
      made.seal(chunk.version(), chunk.writer_epoch());
    }
  }
  void recover() {
    if (stored().writer_epoch() == 0 || epoch_ != 0) return;
    const pb::CommandReply begun = c_.begin_recovery(kChunk.raw());
    const pb::Chunk& chunk = begun.chunk();
    const unsigned data = chunk.encoding().data();
    Sealed sealed = seal(chunk, begun.lease_epoch());
    if (static_cast<unsigned>(__builtin_popcount(sealed.pieces)) < data) {
      make_empty(chunk);
      sealed = seal(chunk, begun.lease_epoch());
    }
    std::vector<Op> forward;
    std::uint32_t stale = 0;
    std::uint64_t regions = 0;
    for (const Op& op : sealed.ops) {
      regions |= op.regions;
      std::uint32_t lacking = 0;
      bool fixed = false;
      for (unsigned i = 0; i < pieces_; ++i) {
        if ((sealed.pieces & op.participants & bit(i)) == 0) continue;
        fixed |= disk(chunk, i)->cannot_undo(op);
        if (!disk(chunk, i)->holds(op)) lacking |= bit(i);
      }
      if (lacking != 0 && !fixed) continue;
      stale |= lacking;
      forward.push_back(op);
    }
    const std::uint32_t good = sealed.pieces & ~stale;
    if (static_cast<unsigned>(__builtin_popcount(good)) < data) return;
    std::uint32_t resolved = 0;
    for (unsigned i = 0; i < pieces_; ++i) {
      if ((good & bit(i)) == 0 || chance(50)) continue;
      disk(chunk, i)->resolve(forward);
      if (!chance(50)) resolved |= bit(i);
    }
    finish_recovery(chunk, ~resolved, regions);
  }
  void finish_recovery(const pb::Chunk& chunk, std::uint32_t unreachable, std::uint64_t regions) {
    pb::Command command;
    pb::FinishRecovery& finish = *command.mutable_finish_recovery();
    finish.set_chunk(chunk.id());
    finish.set_version(chunk.version());
    finish.set_unreachable(unreachable & (bit(pieces_) - 1));
    finish.set_regions(regions);
    if (code_of(c_.apply(command).error()) != kDone) return;
    lost_op_ends();
    note("recover");
  }

  // The chunk is settled: an op of the lost writer is everywhere or nowhere now. It may be
  // everywhere though nobody reported it: a repair copied it, and those it came from are gone.
  void lost_op_ends() {
    const Content now = content_of_current(stored());
    for (const auto& [id, regions] : alive_) {
      Content after = truth_;
      put(after, Op{.id = id, .regions = regions});
      if (now == after) truth_ = after;
    }
    EXPECT_EQ(now, truth_) << "an op ended as neither all nor nothing";
    alive_.clear();
  }

  struct Job {
    pb::Chunk chunk;
    unsigned piece = 0;
    std::uint64_t next_seq = 0;
  };
  // A piece that is missing, of a chunk that is closed.
  bool wants_repair(const pb::Chunk& chunk, unsigned* piece) {
    const std::uint32_t missing = mask(chunk, pb::PIECE_MISSING);
    if (chunk.writer_epoch() != 0 || missing == 0) return false;
    do *piece = static_cast<unsigned>(prng_.below(pieces_));
    while ((missing & bit(*piece)) == 0);
    return true;
  }
  void copy() {
    const auto degraded = queries::degraded_chunks(c_.kv(), ChunkId(), 5);
    if (!degraded.has_value() || degraded->empty()) return;
    Job job{.chunk = degraded->front()};
    if (!wants_repair(job.chunk, &job.piece)) return;
    const pb::Piece& piece = job.chunk.pieces(static_cast<int>(job.piece));
    if (piece.cs_id() == 0) return;
    const std::uint64_t epoch = c_.inode(file_).lease_epoch();
    Disk& target = disks_[{piece.cs_id(), job.chunk.id()}];
    if (target.version > job.chunk.version() + 1) return;
    std::uint64_t regions = piece.missed();
    for (const Op& op : target.undecided) regions |= op.regions;
    if (piece.missed() == UINT64_MAX || target.version == 0) {
      regions = UINT64_MAX;
      target = Disk{};
    }
    target.seal(job.chunk.version() + 1, epoch);
    target.undecided.clear();
    const Content now = content_of_current(job.chunk);
    for (unsigned r = 0; r < testing::kTestRegions; ++r) {
      if ((regions >> r & 1U) != 0) target.base[r] = now[r];
    }
    job.next_seq = std::max(job.chunk.seq_floor(), target.settled.second) + 3;
    target.settled = std::max(target.settled, {epoch, job.next_seq});
    // Who begins again does not finish what was before.
    std::erase_if(jobs_, [&](const Job& other) { return other.piece == job.piece; });
    jobs_.push_back(std::move(job));
    note("copy");
  }
  // All current pieces of a closed chunk have the same: what a row is decoded from.
  Content content_of_current(const pb::Chunk& chunk) {
    std::set<Content> all;
    for (const pb::Piece& piece : chunk.pieces()) {
      if (piece.state() != pb::PIECE_CURRENT) continue;
      const Disk* at = disk(chunk, piece.index());
      all.insert(at == nullptr ? Content{} : at->newest());
    }
    EXPECT_EQ(all.size(), 1U) << "the rows of a closed chunk mix";
    return all.empty() ? Content{} : *all.begin();
  }
  void finish_repair() {
    if (jobs_.empty()) return;
    const auto at = static_cast<std::ptrdiff_t>(prng_.below(jobs_.size()));
    const Job job = jobs_[static_cast<std::size_t>(at)];
    jobs_.erase(jobs_.begin() + at);
    pb::Command command;
    pb::FinishRepair& finish = *command.mutable_finish_repair();
    finish.set_chunk(job.chunk.id());
    finish.set_version(job.chunk.version());
    finish.set_piece(job.piece);
    finish.set_cs_id(job.chunk.pieces(static_cast<int>(job.piece)).cs_id());
    finish.set_next_seq(job.next_seq);
    const bool done = code_of(c_.apply(command).error()) == kDone;
    note(done ? "repaired" : "repair_refused");
  }
  void place() {
    const pb::Chunk chunk = stored();
    const std::uint32_t missing = mask(chunk, pb::PIECE_MISSING);
    if (missing == 0) return;
    pb::Command command;
    pb::PlacePiece& place = *command.mutable_place_piece();
    place.set_chunk(chunk.id());
    place.set_version(chunk.version());
    place.set_piece(static_cast<unsigned>(__builtin_ctz(missing)));
    place.set_cs_id(servers_[prng_.below(kServers)]);
    if (code_of(c_.apply(command).error()) == kDone) note("place");
  }

  // ---- chunk servers ----

  // Also the same removal again, long after: a message that was on its way.
  void remove() {
    const std::uint32_t cs = servers_[prng_.below(kServers)];
    const auto queued = queries::removals(c_.kv(), NodeId::from_raw(cs), 10);
    ASSERT_TRUE(queued.has_value());
    for (const pb::PieceRef& ref : *queued) removals_.emplace_back(cs, ref);
    if (removals_.empty()) return;
    const auto [at, ref] = removals_[prng_.below(removals_.size())];
    remove_piece(at, ref);
    note("remove");
  }
  void remove_piece(std::uint32_t cs, const pb::PieceRef& ref) {
    const auto it = disks_.find({cs, ref.chunk()});
    if (it != disks_.end() && it->second.version <= ref.version()) disks_.erase(it);
    pb::Command command;
    command.mutable_pieces_removed()->set_cs_id(cs);
    *command.mutable_pieces_removed()->add_pieces() = ref;
    c_.apply(command);
  }
  // A drive was changed: nothing is left of a piece that is missing anyway.
  void wipe() {
    const pb::Chunk chunk = stored();
    for (const pb::Piece& piece : chunk.pieces()) {
      if (piece.state() != pb::PIECE_MISSING || jobs_for(piece.index())) continue;
      if (disks_.erase({piece.cs_id(), chunk.id()}) != 0) note("wipe");
      return;
    }
  }
  bool jobs_for(unsigned piece) const {
    return std::ranges::any_of(jobs_, [&](const Job& job) { return job.piece == piece; });
  }

  void step() {
    const std::uint64_t dice = prng_.below(1000);
    if (dice < 560) return write_on();
    if (dice < 640) return is_open() ? close() : void();
    if (dice < 650) return epoch_ != 0 ? give_back(true) : void();
    if (dice < 670) return epoch_ != 0 ? give_back(false) : void();
    if (dice < 740) return recover();
    if (dice < 840) return copy();
    if (dice < 920) return finish_repair();
    if (dice < 945) return place();
    if (dice < 990) return remove();
    wipe();
  }

  void check_truth() {
    const pb::Chunk chunk = stored();
    for (const pb::Piece& piece : chunk.pieces()) {
      if (piece.state() != pb::PIECE_CURRENT) continue;
      const Disk* at = disk(chunk, piece.index());
      const Content has = at == nullptr ? Content{} : at->newest();
      for (unsigned r = 0; r < testing::kTestRegions; ++r) {
        EXPECT_TRUE(has[r] == truth_[r] || alive_.contains(has[r]))
            << "piece " << piece.index() << " region " << r << " has op " << has[r]
            << ", decided is " << truth_[r] << "; " << chunk.ShortDebugString() << "\n after"
            << trace_.substr(trace_.size() - std::min<std::size_t>(trace_.size(), 800));
      }
    }
  }

  // When everything that is queued was removed, pieces are only where the map has them.
  void check_leftovers() {
    for (const std::uint32_t cs : servers_) {
      const auto queued = queries::removals(c_.kv(), NodeId::from_raw(cs), 100);
      ASSERT_TRUE(queued.has_value());
      for (const pb::PieceRef& ref : *queued) remove_piece(cs, ref);
    }
    std::set<std::uint32_t> placed;
    const pb::Chunk chunk = stored();
    for (const pb::Piece& piece : chunk.pieces()) placed.insert(piece.cs_id());
    for (const auto& [at, disk] : disks_) {
      EXPECT_TRUE(placed.contains(at.first))
          << "nobody will ever remove what CS " << at.first << " has at version " << disk.version;
    }
  }

  static constexpr ChunkId kChunk = ChunkId::from_raw(1);
  Prng prng_;
  Cluster c_ = Cluster::made();
  std::vector<std::uint32_t> servers_;
  std::uint64_t session_ = 0;
  std::uint64_t file_ = 0;
  unsigned pieces_ = 0;

  std::uint64_t epoch_ = 0;  // of the writer; 0: it has no lease
  pb::Chunk map_;            // as the writer knows it
  std::uint32_t create_ = 0;
  std::uint64_t next_seq_ = 1;
  std::optional<Op> op_;  // under way

  testing::Disks disks_;
  std::vector<std::pair<std::uint32_t, pb::PieceRef>> removals_;  // ever told
  std::vector<Job> jobs_;
  std::uint64_t next_id_ = 1;
  Content truth_{};
  std::map<std::uint64_t, std::uint64_t> alive_;  // neither decided nor dropped: id -> regions
  std::map<std::string, int> done_;
  std::string trace_;  // what was done, for whoever reads a failure
};

void run_worlds(unsigned data, unsigned parity, unsigned min) {
  std::map<std::string, int> done;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, data, parity, min);
    world.run(2000);
    if (::testing::Test::HasFailure()) return;
    for (const auto& [what, times] : world.done()) done[what] += times;
  }
  for (const char* what :
       {"open", "op", "decide", "drop", "mark", "close", "release", "lost", "recover", "copy",
        "repaired", "repair_refused", "place", "remove", "wipe"}) {
    EXPECT_GT(done[what], 50) << what;
  }
  if (min > data) {
    EXPECT_GT(done["close_pending"], 50);
  }
}

TEST(RepairTruth, CurrentPiecesOfCopiesHaveEveryDecidedOp) { run_worlds(1, 2, 2); }
TEST(RepairTruth, CurrentPiecesOfParityHaveEveryDecidedOp) { run_worlds(3, 2, 4); }
TEST(RepairTruth, CurrentPiecesWithoutAMinimumHaveEveryDecidedOp) { run_worlds(1, 1, 1); }

}  // namespace
}  // namespace cairn::mds::state
