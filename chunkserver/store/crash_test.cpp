// Random programs against the model, with the power cut at any write or flush.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "chunkserver/testing/piece_model.h"
#include "chunkserver/testing/store_world.h"

namespace cairn::chunkserver::store {
namespace {

using testing::ModelCall;
using testing::ModelPrepare;
using testing::ModelRemove;
using testing::ModelResolve;
using testing::ModelSeal;
using testing::ModelSettle;
using testing::PieceModel;
using testing::StoreWorld;

// Pieces straddle the border of two segments.
constexpr std::uint64_t kFirstBlock = 250;
constexpr std::uint64_t kBlocks = 14;
constexpr std::uint64_t kPieces = 4;

struct Issued {
  PieceId piece;
  ModelCall call;
  std::optional<Status> answer;
};

class Program {
 public:
  explicit Program(std::uint64_t seed)
      : prng_(seed), world_({.seed = seed, .disk_bytes = 16_MiB, .grow_bytes = 4_MiB}) {
    constexpr std::array<std::uint64_t, 4> kSelfFlush = {0, 10, 100, 300};
    world_.kv().set_self_flush_per_mille(kSelfFlush[seed % kSelfFlush.size()]);
  }

  void open() {
    // A recovery may be cut off, too.
    for (;;) {
      if (crash_per_mille_ != 0 && prng_.chance(200)) {
        cut_off_soon(4);
      }
      const Status opened = world_.open();
      if (opened.has_value()) break;
      ASSERT_FALSE(world_.disk().attached()) << opened.error().to_string();
      world_.bury();
    }
    for (auto& [piece, model] : models_) model.restart();
    ASSERT_TRUE(world_.store().check_consistency().has_value());
  }

  // Runs `steps` steps. `crash_at`: the power is cut at that write or flush (0: never).
  void run(int steps, std::uint64_t crash_at) {
    open();
    if (crash_at != 0) world_.disk().crash_at(crash_at, prng_.next());
    for (int i = 0; i < steps && !HasFatalFailure(); ++i) step();
    finish();
  }
  // With a crash at random places again and again.
  void run_restless(int steps, std::uint64_t crash_per_mille) {
    crash_per_mille_ = crash_per_mille;
    open();
    for (int i = 0; i < steps && !HasFatalFailure(); ++i) {
      if (prng_.chance(crash_per_mille)) cut_off_soon(6);
      step();
    }
    finish();
  }
  std::uint64_t operations() { return world_.disk().operations(); }
  std::uint64_t crashes() const { return crashes_; }
  static bool HasFatalFailure() { return ::testing::Test::HasFatalFailure(); }

 private:
  // A power cut, or a killed process on a machine that stays up.
  void cut_off_soon(std::uint64_t most) {
    const std::uint64_t at = prng_.between(1, most);
    if (prng_.chance(350)) {
      world_.disk().kill_at(at);
    } else {
      world_.disk().crash_at(at, prng_.next());
    }
  }

  void step() {
    std::vector<Issued> issued;
    const std::uint64_t calls = prng_.between(1, 6);
    // What a writer calls decided was answered before: in an earlier step.
    for (auto& [piece, writer] : writers_) writer.decided = writer.seq;
    for (std::uint64_t i = 0; i < calls; ++i) {
      const PieceId piece = testing::piece_id(1 + prng_.below(kPieces));
      issued.push_back({piece, make_call(piece), std::nullopt});
    }
    bool reads_ok = true;
    world_.loop().run(run_all(&issued, &reads_ok));
    SCOPED_TRACE(describe_all(issued));
    if (world_.disk().attached()) {
      EXPECT_TRUE(reads_ok);
      for (std::size_t i = 0; i < issued.size(); ++i) check_answer(issued, i);
      issued.clear();  // they are in the models now
      if (prng_.chance(300)) observe_all();
      if (prng_.chance(50)) {
        EXPECT_TRUE(world_.loop().run(world_.store().checkpoint()).has_value() ||
                    !world_.disk().attached());
      }
      if (prng_.chance(20) && world_.disk().attached()) reopen();
    }
    if (!world_.disk().attached()) recover(issued);
  }

  // A clean restart changes nothing.
  void reopen() {
    const Status closed = world_.close();
    if (!world_.disk().attached()) {
      world_.bury();
      ++crashes_;
    } else {
      EXPECT_TRUE(closed.has_value());
      world_.kv().crash();
    }
    open();
    if (!HasFatalFailure()) observe_all();
  }

  // One line for a failure message.
  static std::string describe(const Issued& one) {
    std::string text = fmt::format("piece {}: ", one.piece.chunk.raw());
    if (const auto* p = std::get_if<ModelPrepare>(&one.call)) {
      text += fmt::format("prepare v{} {}.{} below {} writes {} zeroes {}", p->version, p->op.first,
                          p->op.second, p->settled_below, p->writes.size(), p->zeroes.size());
    } else if (const auto* s = std::get_if<ModelSettle>(&one.call)) {
      text += fmt::format("settle {}.{}", s->epoch, s->below);
    } else if (const auto* seal = std::get_if<ModelSeal>(&one.call)) {
      text += fmt::format("seal v{} e{}", seal->version, seal->epoch);
    } else if (const auto* r = std::get_if<ModelResolve>(&one.call)) {
      text += fmt::format("resolve v{} e{} forward {}", r->version, r->epoch, r->forward.size());
    } else {
      text += "remove";
    }
    if (!one.answer.has_value()) return text + " -> nothing";
    return text + " -> " + (one.answer->has_value() ? "done" : one.answer->error().to_string());
  }
  static std::string describe_all(const std::vector<Issued>& issued) {
    std::string text;
    for (const Issued& one : issued) text += describe(one) + "\n";
    return text;
  }

  // A seal that is durable finds nothing to list when a removal was right behind it.
  static bool removed_after(const std::vector<Issued>& issued, std::size_t index) {
    for (std::size_t i = index + 1; i < issued.size(); ++i) {
      const bool removes = std::holds_alternative<ModelRemove>(issued[i].call);
      if (removes && issued[i].piece == issued[index].piece) return true;
    }
    return false;
  }

  void check_answer(const std::vector<Issued>& issued, std::size_t index) {
    const Issued& one = issued[index];
    ASSERT_TRUE(one.answer.has_value());
    const std::optional<Code> expected = models_[one.piece].call(one.call);
    if (std::holds_alternative<ModelSeal>(one.call) && removed_after(issued, index)) return;
    if (expected.has_value()) {
      ASSERT_FALSE(one.answer->has_value()) << "call kind " << one.call.index();
      ASSERT_EQ(one.answer->error().code(), *expected) << one.answer->error().to_string();
    } else {
      ASSERT_TRUE(one.answer->has_value()) << one.answer->error().to_string();
    }
  }

  // After a crash every piece is what its acknowledged calls made of it, plus some of the calls
  // that were under way, each wholly or not at all.
  void recover(const std::vector<Issued>& issued) {
    ++crashes_;
    world_.bury();
    std::map<PieceId, std::vector<const Issued*>> by_piece;
    for (const Issued& one : issued) by_piece[one.piece].push_back(&one);
    // An op that was lost is not sent again under its number.
    for (auto& [piece, writer] : writers_) writer.last.reset();
    open();
    if (HasFatalFailure()) return;
    for (auto& [piece, calls] : by_piece) adopt(piece, calls);
    observe_all();
  }

  // Settles answer before they are durable; what answered otherwise must be there.
  static bool must_be_there(const Issued& one) {
    return one.answer.has_value() && one.answer->has_value() &&
           !std::holds_alternative<ModelSettle>(one.call);
  }

  void adopt(PieceId piece, const std::vector<const Issued*>& calls) {
    const std::uint64_t subsets = std::uint64_t{1} << calls.size();
    // Fewest lost calls first.
    for (std::uint64_t lost = 0; lost < subsets; ++lost) {
      PieceModel candidate = models_[piece];
      bool legal = true;
      for (std::size_t i = 0; i < calls.size(); ++i) {
        if ((lost >> i & 1) != 0) {
          legal = legal && !must_be_there(*calls[i]);
          continue;
        }
        const auto* settle = std::get_if<ModelSettle>(&calls[i]->call);
        if (settle != nullptr && lost != 0) {
          candidate.settle_after_loss(*settle);
          continue;
        }
        const std::optional<Code> refused = candidate.call(calls[i]->call);
        static_cast<void>(refused);
      }
      candidate.restart();
      if (!legal || !matches(piece, candidate)) continue;
      models_[piece] = candidate;
      return;
    }
    FAIL() << "piece " << piece.chunk.raw() << " is none of its legal states after a crash";
  }

  std::optional<std::map<std::uint64_t, std::uint64_t>> read_all(PieceId piece) {
    const Result<ReadAnswer> answer =
        world_.loop().run(world_.store().read(piece, {{kFirstBlock, kBlocks}}));
    if (!answer.has_value()) {
      EXPECT_EQ(answer.error().code(), Code::kPieceMissing) << answer.error().to_string();
      return std::nullopt;
    }
    std::map<std::uint64_t, std::uint64_t> view;
    std::size_t at = 0;
    for (const BlockRange& range : answer->present) {
      for (std::uint64_t block = range.first; block < range.end(); ++block, at += kBlockBytes) {
        const std::optional<std::uint64_t> value =
            testing::value_of(answer->bytes.span().subspan(at, kBlockBytes));
        EXPECT_TRUE(value.has_value());
        view[block] = value.value_or(0);
      }
    }
    return view;
  }

  std::set<PieceModel::Op> listed_ops(PieceId piece) {
    std::set<PieceModel::Op> ops;
    const Result<std::optional<PieceRow>> row = load_piece(world_.kv(), piece);
    if (!row.has_value() || !row->has_value()) return ops;
    for (const PendingOp& op : (*row)->pending) ops.emplace(op.op.epoch.raw(), op.op.seq.raw());
    for (const ForwardedOp& op : (*row)->forwarded) ops.emplace(op.op.epoch.raw(), op.op.seq.raw());
    return ops;
  }

  bool matches(PieceId piece, const PieceModel& model) {
    const auto view = read_all(piece);
    if (view.has_value() != model.exists()) return false;
    if (!view.has_value()) return true;
    const Result<PieceStatusAnswer> status = world_.store().status(piece);
    if (!status.has_value()) return false;
    if (listed_ops(piece) != model.listed()) return false;
    return *view == model.newest() && status->version.raw() == model.version() &&
           status->epoch.raw() == model.epoch() && status->blocks == model.settled_blocks() &&
           status->undecided == model.undecided();
  }

  void observe_all() {
    for (const auto& [piece, model] : models_) {
      const bool same = matches(piece, model);
      if (!world_.disk().attached()) return;
      ASSERT_TRUE(same) << "piece " << piece.chunk.raw();
    }
  }

  void finish() {
    if (HasFatalFailure()) return;
    observe_all();
    for (std::uint64_t chunk = 1; chunk <= kPieces; ++chunk) {
      const Status removed = world_.loop().run(world_.store().remove(testing::piece_id(chunk)));
      if (!world_.disk().attached()) return;
      ASSERT_TRUE(removed.has_value());
    }
    world_.loop().run(world_.store().quiesce());
    ASSERT_TRUE(world_.store().check_consistency().has_value());
    EXPECT_EQ(world_.store().statistics().used_bytes, 0U);
    EXPECT_EQ(world_.store().statistics().pieces, 0U);
  }

  ModelCall make_call(PieceId piece) {
    const PieceModel& model = models_[piece];
    Writer& writer = writers_[piece];
    if (!model.exists()) writer.version = std::max(writer.version, model.removed_version() + 1);
    const std::uint64_t dice = prng_.below(100);
    if (dice < 62) return make_prepare_call(writer);
    if (dice < 74) return ModelSettle{writer.epoch, prng_.between(1, writer.decided + 1)};
    if (dice < 84) {
      if (prng_.chance(800)) {
        ++writer.version;
        ++writer.epoch;
        writer.begin_epoch();
        writer.sealed = true;
      }
      return ModelSeal{writer.version, writer.epoch};
    }
    if (dice < 93) {
      // Resolved is what was sealed, durably.
      ModelResolve resolve{model.version(), model.epoch(), {}};
      for (const PieceModel::Op& op : model.listed()) {
        if (prng_.chance(500)) resolve.forward.insert(op);
      }
      ++writer.epoch;
      writer.begin_epoch();
      return resolve;
    }
    if (dice < 96) return ModelRemove{};
    // A ghost of an older life.
    Writer ghost = writer;
    if (ghost.epoch > 1 && prng_.chance(500)) --ghost.epoch;
    if (ghost.version > 1 && prng_.chance(500)) --ghost.version;
    ghost.last.reset();
    ghost.sealed = true;
    ghost.decided = 0;
    ghost.seq = 1000 + next_value_++;  // never the number of another op
    return make_prepare_call(ghost);
  }

  struct Writer {
    std::uint64_t version = 1;
    std::uint64_t epoch = 1;
    std::uint64_t seq = 0;
    std::uint64_t decided = 0;  // ops up to here were answered
    bool sealed = false;
    std::optional<ModelPrepare> last;
    void begin_epoch() {
      seq = 0;
      decided = 0;
    }
  };

  ModelPrepare make_prepare_call(Writer& writer) {
    if (writer.last.has_value() && prng_.chance(80)) return *writer.last;  // a repeat
    if (!std::exchange(writer.sealed, false) && prng_.chance(50)) {
      ++writer.epoch;
      writer.begin_epoch();
    }
    ModelPrepare prepare{writer.version, {writer.epoch, ++writer.seq}, 0, true, {}, {}};
    if (prng_.chance(500)) prepare.settled_below = prng_.between(0, writer.decided + 1);
    for (std::uint64_t block = kFirstBlock; block < kFirstBlock + kBlocks;) {
      const std::uint64_t run = prng_.between(1, 5);
      const std::uint64_t kind = prng_.below(10);
      for (std::uint64_t i = 0; i < run && block < kFirstBlock + kBlocks; ++i, ++block) {
        if (kind < 3) prepare.writes[block] = next_value_++ << 20;
        if (kind == 3) prepare.zeroes.insert(block);
      }
    }
    writer.last = prepare;
    return prepare;
  }

  template <class Blocks, class Block>
  static std::vector<BlockRange> ranges_of(const Blocks& blocks, Block block_of) {
    std::vector<BlockRange> ranges;
    for (const auto& entry : blocks) {
      const std::uint64_t block = block_of(entry);
      if (!ranges.empty() && ranges.back().end() == block) {
        ++ranges.back().count;
      } else {
        ranges.push_back({block, 1});
      }
    }
    return ranges;
  }

  static Task<Status> issue(PieceStore* store, PieceId piece, const ModelCall* call) {
    if (const auto* prepare = std::get_if<ModelPrepare>(call)) {
      std::vector<std::uint64_t> values;
      for (const auto& [block, value] : prepare->writes) values.push_back(value);
      testing::MadePrepare made = testing::make_prepare(
          piece, prepare->version, testing::op_id(prepare->op.first, prepare->op.second),
          ranges_of(prepare->writes, [](const auto& entry) { return entry.first; }),
          std::move(values));
      made.request.zeroes = ranges_of(prepare->zeroes, [](std::uint64_t block) { return block; });
      made.request.settled_below = OpSeq(prepare->settled_below);
      made.request.create = prepare->create;
      PrepareRequest request = std::move(made.request);
      Buffer body = std::move(made.body);
      co_return co_await store->prepare(std::move(request), std::move(body));
    }
    if (const auto* settle = std::get_if<ModelSettle>(call)) {
      co_return co_await store->settle(piece, testing::op_id(settle->epoch, settle->below));
    }
    if (const auto* seal = std::get_if<ModelSeal>(call)) {
      const Result<SealAnswer> answer =
          co_await store->seal(piece, ChunkVersion(seal->version), LeaseEpoch(seal->epoch));
      if (!answer.has_value()) co_return fail(answer.error());
      co_return Status();
    }
    if (const auto* resolve = std::get_if<ModelResolve>(call)) {
      std::vector<OpId> forward;
      for (const auto& [epoch, seq] : resolve->forward)
        forward.push_back(testing::op_id(epoch, seq));
      co_return co_await store->resolve(piece, ChunkVersion(resolve->version),
                                        LeaseEpoch(resolve->epoch), std::move(forward));
    }
    co_return co_await store->remove(piece);
  }

  static Task<void> issue_one(PieceStore* store, Issued* issued) {
    Status status = co_await issue(store, issued->piece, &issued->call);
    issued->answer = std::move(status);
  }
  static Task<void> read_one(PieceStore* store, PieceId piece, bool* ok) {
    std::vector<BlockRange> ranges{{kFirstBlock, kBlocks}};
    const Result<ReadAnswer> answer = co_await store->read(piece, std::move(ranges));
    if (!answer.has_value() && answer.error().code() != Code::kPieceMissing) *ok = false;
  }
  Task<void> run_all(std::vector<Issued>* issued, bool* reads_ok) {
    runtime::TaskGroup group(world_.loop());
    for (Issued& one : *issued) {
      if (prng_.chance(300)) group.spawn(read_one(&world_.store(), one.piece, reads_ok));
      group.spawn(issue_one(&world_.store(), &one));
    }
    co_await group.join();
    co_await world_.store().quiesce();
  }

  Prng prng_;
  StoreWorld world_;
  std::map<PieceId, PieceModel> models_;
  std::map<PieceId, Writer> writers_;
  std::uint64_t next_value_ = 1;
  std::uint64_t crashes_ = 0;
  std::uint64_t crash_per_mille_ = 0;
};

TEST(PieceStoreModel, AnswersAsTheModelWithoutCrashes) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Program program(seed);
    program.run(150, 0);
    if (HasFatalFailure()) return;
  }
}

TEST(PieceStoreModel, SurvivesACrashAtEveryWriteAndFlushOfShortPrograms) {
  for (std::uint64_t seed = 100; seed < 112; ++seed) {
    std::uint64_t operations = 0;
    {
      Program whole(seed);
      whole.run(8, 0);
      operations = whole.operations();
    }
    for (std::uint64_t at = 1; at <= operations; ++at) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << " crash at " << at);
      Program program(seed);
      program.run(8, at);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(PieceStoreModel, SurvivesCrashesOfRandomPrograms) {
  std::uint64_t crashes = 0;
  for (std::uint64_t seed = 1000; seed < 1400; ++seed) {
    SCOPED_TRACE(seed);
    Program program(seed);
    program.run_restless(60, 150);
    if (HasFatalFailure()) return;
    crashes += program.crashes();
  }
  EXPECT_GT(crashes, 2000U);
}

}  // namespace
}  // namespace cairn::chunkserver::store
