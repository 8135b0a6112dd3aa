// Chunks in the states in which dying chunk servers leave them: a piece that was dropped, ops under
// way, a recovery cut in its seals, copies that are whole, half done, or in another place. Each is
// one chunk of the same repositories.
#include <fmt/format.h>

#include <bit>

#include "chunkserver/inspect/chunk_salvage.h"
#include "chunkserver/inspect/repository_fixture.h"
#include "common/base/prng.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

constexpr std::uint64_t kRows = 2;  // of the first stripe
constexpr std::uint64_t kEpoch = 7;

PieceMask bit(unsigned i) { return PieceMask{1} << i; }
bool has(PieceMask mask, unsigned i) { return (mask >> i & 1U) != 0; }

enum class Copy { kNone, kBegun, kHalf, kWhole, kElsewhere };

// Op 1 makes the chunk, op 2 misses the dropped piece and is acknowledged, op 3 is under way.
struct Scenario {
  PieceMask written = 0;            // data pieces that were ever written; others are nowhere
  PieceMask dropped = 0;            // at most one piece
  bool late_drop = false;           // op 2 was under way when it was dropped
  PieceMask touched = 0;            // data that op 2 changes
  PieceMask told = 0;               // pieces that hear that op 2 is settled, and of the version
  std::optional<unsigned> changed;  // the data piece of op 3
  PieceMask reached = 0;            // of its pieces those that have it
  bool deltas = false;              // it brings deltas to the parity
  PieceMask sealed = 0;
  // The dropped piece was repaired at another place before op 3; the old one is still there.
  bool moved = false;
  Copy copy = Copy::kNone;
};

using Row = std::vector<Buffer>;  // by piece

struct Chunk {
  Scenario scenario;
  std::vector<Row> before, acked, after;  // by row
  bool op3_counts = false;                // all its pieces have it
};

struct Call {
  enum class Kind { kPrepare, kSettle, kSeal } kind = Kind::kPrepare;
  store::PrepareRequest request;  // piece, version and op also of the others
  Buffer body;
};

class States {
 public:
  States(unsigned data, unsigned parity, std::uint64_t seed)
      : data_(data), parity_(parity), prng_(seed) {
    for (unsigned i = 0; i < total(); ++i) {
      stores_.push_back(std::make_unique<LiveStore>(
          temp_ / ("cs" + std::to_string(i)),
          LiveOptions{.cs = 1025 + i, .journal_bytes = 8192 * kBlockBytes}));
    }
  }
  unsigned total() const { return data_ + parity_; }
  unsigned data() const { return data_; }
  PieceMask all() const { return bit(total()) - 1; }
  PieceMask all_data() const { return bit(data_) - 1; }
  PieceMask all_parity() const { return all() & ~all_data(); }
  PieceMask parties_of_op3(const Scenario& it) const {
    const PieceMask all = it.changed.has_value() ? bit(*it.changed) | all_parity() : 0;
    return it.moved ? all : all & ~it.dropped;
  }
  const std::vector<Chunk>& chunks() const { return chunks_; }
  Prng& prng() { return prng_; }

  void add(const Scenario& scenario) {
    Chunk& chunk = chunks_.emplace_back();
    chunk.scenario = scenario;
    for (std::uint64_t row = 0; row < kRows; ++row) {
      chunk.before.push_back(changed(Row(), scenario.written));
      chunk.acked.push_back(changed(chunk.before[row], scenario.touched));
      const PieceMask last = scenario.changed.has_value() ? bit(*scenario.changed) : 0;
      chunk.after.push_back(changed(chunk.acked[row], last));
    }
    const PieceMask parties = parties_of_op3(scenario);
    chunk.op3_counts = parties != 0 && (parties & ~scenario.reached) == 0;
  }
  // Everything happens, in phases; then the servers die.
  void play() {
    for (int phase = 0; phase < 11; ++phase) {
      std::vector<std::vector<Call>> calls(total());
      for (std::size_t i = 0; i < chunks_.size(); ++i) plan(i, phase, &calls);
      for (unsigned i = 0; i < total(); ++i) {
        Task<Status> all = issue_all(stores_[i].get(), &calls[i]);
        EXPECT_TRUE(stores_[i]->run(std::move(all)).has_value());
        stores_[i]->quiesce();
      }
    }
    for (unsigned i = 0; i < total(); ++i) stores_[i]->leave(temp_ / ("dead" + std::to_string(i)));
    stores_.clear();
    for (unsigned i = 0; i < total(); ++i) {
      inspections_.push_back(
          Inspection::open({.repository = temp_ / ("dead" + std::to_string(i))}).value());
    }
  }

  struct Outcome {
    std::vector<std::map<unsigned, std::uint32_t>> rows;  // checksums of data blocks; absent: zeros
    bool lost = false;
    ChunkReport report;
  };
  Outcome salvage(std::size_t number, PieceMask away) {
    Outcome outcome;
    outcome.rows.resize(kRows);
    std::vector<ChunkPiece> pieces;
    for (unsigned i = 0; i < total(); ++i) {
      if (has(away, i)) continue;
      for (unsigned index = 0; index < total(); ++index) {
        const PieceId id = piece(number, index);
        const auto row = inspections_[i]->row(id).value();
        if (row.has_value()) pieces.push_back({inspections_[i].get(), id, *row});
      }
    }
    ChunkSalvage salvage = ChunkSalvage::make(std::move(pieces)).value();
    const Status told = salvage.each_run([&](const ChunkRun& run) -> Status {
      for (std::uint64_t at = 0; at < run.length; at += kBlockBytes) {
        const std::uint64_t block = (run.offset.raw() + at) / kBlockBytes;
        const auto index = static_cast<unsigned>(block / kRows);
        if (run.bytes.empty()) outcome.lost = true;
        if (run.bytes.empty() || index >= data_) continue;
        outcome.rows[block % kRows][index] = crc32c(run.bytes.subspan(at, kBlockBytes));
      }
      return {};
    });
    EXPECT_TRUE(told.has_value());
    outcome.report = salvage.report();
    outcome.lost |= outcome.report.contradicting_rows != 0;
    return outcome;
  }
  // Which of the states all rows are in; a block that is lost fits to each.
  bool shows(const Outcome& outcome, const std::vector<Row>& state) const {
    const std::uint32_t zeros = crc32c(Buffer::zeroed(kBlockBytes).span());
    for (std::uint64_t row = 0; row < kRows; ++row) {
      for (unsigned i = 0; i < data_; ++i) {
        const auto at = outcome.rows[row].find(i);
        if (at == outcome.rows[row].end() && outcome.lost) continue;
        const std::uint32_t got = at == outcome.rows[row].end() ? zeros : at->second;
        if (got != crc32c(state[row][i].span())) return false;
      }
    }
    return true;
  }

 private:
  static PieceId piece(std::size_t chunk, unsigned index) {
    return {ChunkId::from_raw(100 + chunk), PieceIndex(static_cast<std::uint8_t>(index))};
  }
  Row changed(const Row& from, PieceMask touched) {
    Row row;
    for (unsigned i = 0; i < total(); ++i) {
      row.push_back(from.empty() ? Buffer::zeroed(kBlockBytes) : Buffer::copy_of(from[i].span()));
      for (std::size_t at = 0; at < kBlockBytes && has(touched, i); at += 8) {
        store_le(row[i].data() + at, prng_.next());
      }
    }
    std::vector<const std::byte*> data;
    std::vector<std::byte*> parity;
    for (unsigned i = 0; i < total(); ++i) {
      if (i < data_) data.push_back(row[i].data());
      if (i >= data_) parity.push_back(row[i].data());
    }
    erasure::Codec::get(data_, parity_)->encode(data, parity, kBlockBytes);
    return row;
  }
  Call call(std::size_t number, unsigned index, std::uint64_t version, std::uint64_t seq) const {
    Call call;
    call.request.piece = piece(number, index);
    call.request.version = ChunkVersion(version);
    call.request.op = {LeaseEpoch(kEpoch), OpSeq(seq)};
    call.request.participants = bit(index);
    call.request.create = true;
    call.request.facts = {.generator = erasure::kGeneratorVersion,
                          .data = data_,
                          .parity = parity_,
                          .cell_bytes = kRows * kBlockBytes,
                          .inode = 42,
                          .chunk_index = 0};
    return call;
  }
  // The piece's blocks in these rows, or what changed in them.
  static void bring(Call* call, unsigned index, const std::vector<Row>& rows,
                    const std::vector<Row>* deltas_from = nullptr, std::uint64_t count = kRows) {
    call->body = Buffer::allocate(count * kBlockBytes);
    for (std::uint64_t row = 0; row < count; ++row) {
      std::byte* const to = call->body.data() + row * kBlockBytes;
      std::memcpy(to, rows[row][index].data(), kBlockBytes);
      for (std::size_t i = 0; i < kBlockBytes && deltas_from != nullptr; ++i) {
        to[i] ^= (*deltas_from)[row][index].data()[i];
      }
      call->request.crcs.push_back(crc32c(Bytes(to, kBlockBytes)));
    }
    (deltas_from == nullptr ? call->request.writes : call->request.deltas) = {{0, count}};
  }
  void plan(std::size_t number, int phase, std::vector<std::vector<Call>>* calls) const {
    const Chunk& chunk = chunks_[number];
    const Scenario& it = chunk.scenario;
    const PieceMask exist = it.written | all_parity();
    if (phase == 4 || phase == 5) return plan_move(number, phase, calls);
    if (phase >= 8) return plan_copy(number, phase, calls);
    const std::uint64_t now = it.moved ? 4 : 2;
    for (unsigned i = 0; i < total(); ++i) {
      if (!has(exist, i)) continue;
      const PieceMask op2 = it.touched | all_parity();
      Call one = call(number, i, phase < 2 || (phase == 2 && it.late_drop) ? 1 : 2, 1);
      bool wanted = false;
      if (phase == 0) {
        wanted = true;
        bring(&one, i, chunk.before);
        one.request.participants = exist;
      } else if (phase == 1 || phase == 3) {
        wanted = phase == 1 || (has(it.told & ~it.dropped, i));
        one.kind = Call::Kind::kSettle;
        one.request.op.seq = OpSeq(phase == 1 ? 2 : 3);
      } else if (phase == 2) {
        wanted = has(op2 & ~it.dropped, i);
        one.request.op.seq = OpSeq(2);
        one.request.settled_below = OpSeq(2);
        one.request.participants = it.late_drop ? op2 : op2 & ~it.dropped;
        bring(&one, i, chunk.acked);
      } else if (phase == 6) {
        wanted = has(parties_of_op3(it) & it.reached, i);
        one.request.version = ChunkVersion(now);
        one.request.op.seq = OpSeq(20);
        one.request.settled_below = OpSeq(20);
        one.request.participants = parties_of_op3(it);
        bring(&one, i, chunk.after, it.deltas && i >= data_ ? &chunk.acked : nullptr);
      } else if (phase == 7) {
        wanted = has(it.moved ? it.sealed : it.sealed & ~it.dropped, i);
        one.kind = Call::Kind::kSeal;
        one.request.version = ChunkVersion(now + 1);
      }
      const bool away = it.moved && phase >= 6 && has(it.dropped, i);
      if (wanted) (*calls)[away ? (i + 1) % total() : i].push_back(std::move(one));
    }
  }
  // It becomes current there, and is confirmed.
  void plan_move(std::size_t number, int phase, std::vector<std::vector<Call>>* calls) const {
    const Chunk& chunk = chunks_[number];
    if (!chunk.scenario.moved) return;
    const auto target = static_cast<unsigned>(std::countr_zero(chunk.scenario.dropped));
    Call one = call(number, target, 4, 10);
    if (phase == 4) {
      one.request.copy = true;
      one.request.settled_below = OpSeq(10);
      bring(&one, target, chunk.acked);
    } else {
      one.kind = Call::Kind::kSettle;
      one.request.op.seq = OpSeq(11);
    }
    (*calls)[(target + 1) % total()].push_back(std::move(one));
  }
  // What was acknowledged comes to the piece that was dropped, at its place or at another.
  void plan_copy(std::size_t number, int phase, std::vector<std::vector<Call>>* calls) const {
    const Chunk& chunk = chunks_[number];
    const Copy copy = chunk.scenario.copy;
    if (copy == Copy::kNone || chunk.scenario.dropped == 0) return;
    const auto target = static_cast<unsigned>(std::countr_zero(chunk.scenario.dropped));
    Call one = call(number, target, 5, phase == 8 ? 10 : 11);
    one.request.copy = true;
    one.request.settled_below = OpSeq(10);
    if (phase == 8) {
      one.request.zeroes = {{0, kRows}};
    } else if (phase == 10) {
      if (copy != Copy::kWhole) return;
      one.kind = Call::Kind::kSettle;
      one.request.op.seq = OpSeq(12);
      one.request.version = ChunkVersion();
    } else if (copy == Copy::kBegun) {
      return;
    } else {
      bring(&one, target, chunk.acked, nullptr, copy == Copy::kHalf ? 1 : kRows);
    }
    const unsigned at = copy == Copy::kElsewhere ? (target + 1) % total() : target;
    (*calls)[at].push_back(std::move(one));
  }

  static Task<void> issue(LiveStore* live, Call* call) {
    store::PrepareRequest& request = call->request;
    const PieceId piece = request.piece;
    const ChunkVersion version = request.version;
    const store::OpId op = request.op;
    Status done;
    if (call->kind == Call::Kind::kPrepare) {
      store::PrepareRequest taken = std::move(request);
      Buffer body = std::move(call->body);
      done = co_await live->store().prepare(std::move(taken), std::move(body));
    } else if (call->kind == Call::Kind::kSettle) {
      done = co_await live->store().settle(piece, op, version);
    } else {
      const Result<store::SealAnswer> sealed =
          co_await live->store().seal(piece, version, op.epoch);
      if (!sealed.has_value()) done = fail(sealed.error());
    }
    EXPECT_TRUE(done.has_value()) << (done.has_value() ? "" : done.error().to_string());
  }
  static Task<Status> issue_all(LiveStore* live, std::vector<Call>* calls) {
    runtime::TaskGroup group(live->runtime());
    for (Call& call : *calls) group.spawn(issue(live, &call));
    co_await group.join();
    co_return Status();
  }

  unsigned data_;
  unsigned parity_;
  Prng prng_;
  TemporaryDirectory temp_;
  std::vector<std::unique_ptr<LiveStore>> stores_;
  std::vector<std::unique_ptr<Inspection>> inspections_;
  std::vector<Chunk> chunks_;
};

std::string describe(const Scenario& it) {
  return fmt::format(
      "written {:b} dropped {:b}{}{} touched {:b} told {:b} changed {} reached {:b}{} sealed {:b} "
      "copy {}",
      it.written, it.dropped, it.late_drop ? " late" : "", it.moved ? " moved" : "", it.touched,
      it.told, it.changed.has_value() ? static_cast<int>(*it.changed) : -1, it.reached,
      it.deltas ? " deltas" : "", it.sealed, static_cast<int>(it.copy));
}

// All that is there proves what it shows.
bool must_be_whole(const States& states, const Scenario& it) {
  const unsigned parity = states.total() - states.data();
  const bool small = it.written != states.all_data();
  if (states.data() == 1) return true;
  // An op that one piece lacks may have been acknowledged without that one, or not at all.
  const bool one_version = it.told == states.all() && it.sealed == 0;
  if (parity == 1) return it.dropped == 0 && !small && (one_version || !it.changed.has_value());
  // Of a small chunk so little is there that pieces of several versions may prove nothing.
  return !small || parity == 2;
}

void check(States& states, std::size_t number, PieceMask away) {
  const Chunk& chunk = states.chunks()[number];
  const Scenario& it = chunk.scenario;
  // Of a write of which no piece is left nobody can know.
  if (((it.touched | states.all_parity()) & ~it.dropped & ~away) == 0) return;
  if (chunk.op3_counts && (states.parties_of_op3(it) & ~away) == 0) return;
  const States::Outcome outcome = states.salvage(number, away);
  const std::string text = fmt::format("{} away {:b}", describe(chunk.scenario), away);
  const bool acked = states.shows(outcome, chunk.acked);
  const bool after = states.shows(outcome, chunk.after);
  if (away == 0 && must_be_whole(states, chunk.scenario)) {
    EXPECT_FALSE(outcome.lost) << text;
  }
  EXPECT_TRUE(after || (acked && !chunk.op3_counts)) << text;
}

PieceMask draw_mask(Prng& prng) { return static_cast<PieceMask>(prng.next()); }

Scenario draw(States& states) {
  Prng& prng = states.prng();
  Scenario it;
  const unsigned data = states.data();
  it.written = prng.chance(200) ? 1 : states.all_data();
  if (prng.chance(700)) it.dropped = bit(static_cast<unsigned>(prng.below(states.total())));
  it.dropped &= it.written | states.all_parity();
  it.late_drop = it.dropped != 0 && prng.chance(400);
  while (it.touched == 0) it.touched = draw_mask(prng) & it.written;
  if (prng.chance(650)) it.told = prng.chance(500) ? states.all() : draw_mask(prng) & states.all();
  if (prng.chance(700)) {
    it.changed = static_cast<unsigned>(prng.below(data));
    if (!has(it.written, *it.changed)) it.changed = 0;
    // Parity of what is on no piece that is left comes from the writer as a whole.
    it.deltas = prng.chance(400);
    it.reached = prng.chance(200) ? states.all() : draw_mask(prng) & states.all();
  }
  // Recovery begins when the writer is gone; a repair when all is settled.
  if (prng.chance(300)) it.sealed = draw_mask(prng) & states.all();
  it.moved = it.dropped != 0 && prng.chance(400);
  if (it.sealed == 0 && !it.moved && !it.changed.has_value() && prng.chance(700)) {
    it.copy = static_cast<Copy>(prng.between(1, 4));
  }
  return it;
}

class ChunkStates : public ::testing::TestWithParam<std::pair<unsigned, unsigned>> {};

TEST_P(ChunkStates, NothingThatWasAcknowledgedIsLostOrWrong) {
  const auto [data, parity] = GetParam();
  States states(data, parity, 4711 + data);
  for (int i = 0; i < 250; ++i) states.add(draw(states));
  states.play();
  for (std::size_t i = 0; i < states.chunks().size(); ++i) {
    check(states, i, 0);
    if (::testing::Test::HasFailure()) FAIL() << "chunk " << i;
    // Repositories are lost: nothing wrong is shown for it.
    // (Where a piece has moved it may be that nothing new is left but its old place.)
    PieceMask away = bit(static_cast<unsigned>(states.prng().below(states.total())));
    if (!states.chunks()[i].scenario.moved) {
      away = draw_mask(states.prng()) & draw_mask(states.prng()) & states.all();
    }
    check(states, i, away);
    if (::testing::Test::HasFailure()) FAIL() << "chunk " << i << " with fewer repositories";
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, ChunkStates,
                         ::testing::Values(std::pair{4U, 2U}, std::pair{2U, 1U}, std::pair{1U, 2U},
                                           std::pair{4U, 3U}),
                         [](const auto& code) {
                           return std::to_string(code.param.first) + "and" +
                                  std::to_string(code.param.second);
                         });

}  // namespace
}  // namespace cairn::chunkserver::inspect
