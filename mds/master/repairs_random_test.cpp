// Random drops, writes, deaths of chunk servers and failovers of the master: no piece is ever
// current that missed something, and in the end every piece is back.
#include <set>

#include "common/base/prng.h"
#include "mds/master/master_fixture.h"
#include "mds/master/repairs.h"

namespace cairn::mds::master {
namespace {

using Client = FakeClient;

class RepairsRandom : public MasterTest, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  static constexpr unsigned kServers = 7;
  static constexpr unsigned kFiles = 4;

  struct File {
    Client* writer = nullptr;
    std::uint64_t inode = 0;
    std::uint64_t epoch = 0;
    std::uint64_t chunk = 0;
    std::optional<Outcome<Answer>> opening;
  };
  // What a piece on a chunk server lacks of what was written.
  using Where = std::tuple<std::uint64_t, std::uint32_t, std::uint32_t>;  // chunk, piece, cs

  pb::Chunk now(const File& file) {
    return state::queries::chunk(tables_, ChunkId::from_raw(file.chunk)).value();
  }
  void set_up() {
    add_servers(kServers);
    set_root_encoding(3, 2, 4);
    for (unsigned i = 0; i < kServers; ++i) {
      servers_[i]->on_repaired = [this, cs = 1025 + i](const pb::Repair& repair) {
        const Where where{repair.chunk().id(), repair.piece(), cs};
        if (repair.whole()) lacks_[where] = 0;
        lacks_.try_emplace(where, layout::kAllRegions).first->second &= ~repair.regions();
      };
    }
    for (unsigned i = 0; i < kFiles; ++i) {
      File& file = files_.emplace_back();
      const std::string name = "w" + std::to_string(i % 2);
      file.writer = i < 2 ? &client(name) : files_[i - 2].writer;
      const pb::MakeNodeReply made = file.writer->create("file" + std::to_string(i));
      file.inode = made.attributes().inode();
      file.epoch = made.epoch();
      const Answer opened =
          file.writer->mutate(Client::open_chunk(file.inode, file.epoch, 0b11111));
      ASSERT_EQ(opened->error().code(), 0U) << opened->error().message();
      file.chunk = opened->open_chunk().chunk().id();
      for (const pb::Piece& piece : opened->open_chunk().chunk().pieces()) {
        lacks_[{file.chunk, piece.index(), piece.cs_id()}] = 0;
      }
    }
  }

  bool is_open(File& file) {
    if (file.opening.has_value() && file.opening->done()) file.opening.reset();
    if (file.opening.has_value()) return false;
    if (now(file).writer_epoch() == file.epoch) return true;
    file.opening = file.writer->begin_mutation(Client::open_chunk(file.inode, file.epoch, 0b11111));
    return false;
  }
  // An op that is decided: all current pieces take it, all others are told to have missed it.
  void write(File& file, std::uint32_t drop) {
    if (!is_open(file)) return;
    const layout::RegionMask regions = prng_.next() & prng_.next() & prng_.next();
    const Answer told =
        file.writer->mutate(Client::drop_pieces(now(file), file.epoch, drop, regions));
    ASSERT_TRUE(told.has_value()) << told.error().to_string();
    if (told->error().code() != 0) return;
    std::set<Where> current;
    for (const pb::Piece& piece : told->open_chunk().chunk().pieces()) {
      if (piece.state() != pb::PIECE_CURRENT) continue;
      current.insert({file.chunk, piece.index(), piece.cs_id()});
    }
    for (auto& [where, lacks] : lacks_) {
      if (std::get<0>(where) == file.chunk && !current.contains(where)) lacks |= regions;
    }
  }
  void answer_holds(std::uint64_t per_mille) {
    for (const auto& client : clients_) {
      while (!client->holds.empty()) {
        const pb::HoldChunk hold = client->holds.front();
        client->holds.pop_front();
        if (!prng_.chance(per_mille)) continue;
        // One that is repeated, and was answered before, is refused or does nothing.
        ASSERT_TRUE(client->mutate(Client::close_chunk(hold, 1 + prng_.below(100))).has_value());
      }
    }
  }
  void remove_pieces() {
    for (unsigned i = 0; i < kServers; ++i) {
      if (down_.contains(i)) continue;
      const NodeId cs = NodeId::from_raw(1025 + i);
      pb::Command command;
      command.mutable_pieces_removed()->set_cs_id(cs.raw());
      const Result<std::vector<pb::PieceRef>> queued = state::queries::removals(tables_, cs, 100);
      for (const pb::PieceRef& ref : *queued) {
        const ChunkId chunk = ChunkId::from_raw(ref.chunk());
        if (master_->repairs().copying_to(cs.raw(), chunk, ref.piece())) continue;
        *command.mutable_pieces_removed()->add_pieces() = ref;
        lacks_.erase({ref.chunk(), ref.piece(), cs.raw()});
      }
      if (command.pieces_removed().pieces_size() != 0) run(std::move(command));
    }
  }
  void live(Duration duration) {
    const Instant end = runtime_.now() + duration;
    while (runtime_.now() < end && !HasFatalFailure()) {
      for (unsigned i = 0; i < kServers; ++i) {
        if (!down_.contains(i)) heartbeat(1025 + i);
      }
      for (const auto& client : clients_) {
        pb::ClientRequest alive;
        alive.mutable_keep_alive();
        ASSERT_TRUE(client->call(alive).has_value());
      }
      runtime_.run_for(std::min<Duration>(1s, end - runtime_.now()));
      check();
    }
  }
  void check() {
    for (const File& file : files_) {
      const pb::Chunk chunk = now(file);
      for (const pb::Piece& piece : chunk.pieces()) {
        if (piece.state() != pb::PIECE_CURRENT) continue;
        const auto at = lacks_.find({file.chunk, piece.index(), piece.cs_id()});
        ASSERT_NE(at, lacks_.end()) << "a current piece is not there";
        ASSERT_EQ(at->second, 0U) << "a current piece missed something";
      }
    }
  }
  void fail_over() {
    for (const auto& client : clients_) client->disconnect();
    for (File& file : files_) file.opening.reset();
    stop();
    start();
    register_servers();
    for (const auto& client : clients_) {
      client->connect();
      client->open(client->session);
      pb::ClientRequest reclaim;
      reclaim.mutable_reclaim();
      ASSERT_TRUE(client->call(reclaim).has_value());
    }
  }
  void step() {
    const auto cs = static_cast<unsigned>(prng_.below(kServers));
    switch (prng_.below(12)) {
      case 0:
        if (down_.size() < 2 && down_.insert(cs).second) servers_[cs]->stop();
        break;
      case 1:
      case 2:
        if (down_.erase(cs) != 0) {
          servers_[cs]->start();
          master_->repairs().restarted(1025 + cs);
        }
        break;
      case 3:
        if (prng_.chance(300)) fail_over();
        break;
      case 4:
        servers_[cs]->repair_time = 100ms * static_cast<std::int64_t>(prng_.below(30));
        break;
      case 5:
        servers_[cs]->repair_errors.push_back(prng_.chance(500) ? Code::kPieceMissing
                                                                : Code::kNoSpace);
        break;
      case 6:
      case 7:
        write(files_[prng_.below(kFiles)], 1U << prng_.below(5));
        break;
      default:
        write(files_[prng_.below(kFiles)], 0);
        break;
    }
  }

  Prng prng_{GetParam()};
  std::vector<File> files_;
  std::set<unsigned> down_;
  std::map<Where, layout::RegionMask> lacks_;
};

TEST_P(RepairsRandom, NoCurrentPieceMissedAnythingAndAllComeBack) {
  set_up();
  for (int i = 0; i < 150 && !HasFatalFailure(); ++i) {
    step();
    answer_holds(800);
    remove_pieces();
    const bool long_time = prng_.chance(20);
    live(long_time ? Duration(400s) : 100ms * static_cast<std::int64_t>(prng_.below(40)));
  }
  if (HasFatalFailure()) return;
  for (const unsigned cs : down_) servers_[cs]->start();
  down_.clear();
  for (const auto& server : servers_) server->repair_errors.clear();
  for (const auto& server : servers_) server->repair_time = Duration(0);
  register_servers();
  const auto whole = [this] {
    return std::ranges::all_of(files_,
                               [this](const File& f) { return !rank_of(now(f)).has_value(); });
  };
  for (int i = 0; i < 200 && !whole() && !HasFatalFailure(); ++i) {
    answer_holds(1000);
    remove_pieces();
    live(1s);
  }
  EXPECT_TRUE(whole()) << master_->repairs().progress().why;
  EXPECT_TRUE(state::check_invariants(tables_)->empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RepairsRandom, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace cairn::mds::master
