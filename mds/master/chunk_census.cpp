#include "mds/master/chunk_census.h"

#include "mds/state/keys.h"

namespace cairn::mds::master {

namespace keys = state::keys;

namespace {

ChunkState with_repair(ChunkState state, bool copying) {
  return copying && state != ChunkState::kOffline ? ChunkState::kReplicating : state;
}

}  // namespace

Task<Result<ChunkCensus::Shared>> ChunkCensus::take() {
  if (last_ != nullptr && env_.runtime.now() - last_->at < kFresh) co_return last_;
  if (walking_) {
    runtime::Completion<Result<Shared>> done(env_.runtime);
    waiting_.push_back(done);
    Result<Shared> shared = co_await done.wait();
    co_return shared;
  }
  walking_ = true;
  Result<Shared> counted = co_await walk();
  walking_ = false;
  if (counted.has_value()) last_ = *counted;
  auto waiting = std::move(waiting_);
  waiting_.clear();
  for (runtime::Completion<Result<Shared>>& waiter : waiting) waiter.set(counted);
  co_return counted;
}

Task<Result<ChunkCensus::Shared>> ChunkCensus::walk() {
  const std::shared_ptr<Count> count = std::make_shared<Count>();
  const Instant now = env_.runtime.now();
  count->at = now;
  const std::function<CsState(std::uint32_t)> state_of = [this, now](std::uint32_t cs) {
    return board_.state_of(cs, now);
  };
  const std::string end = kv::prefix_end(keys::all_of(keys::Table::kChunk));
  std::string from = keys::all_of(keys::Table::kChunk);
  for (;;) {
    std::size_t seen = 0;
    bool more = false;
    bool damaged = false;
    const kv::Reader::Visit visit = [&](std::string_view key, std::string_view value) {
      if (seen == kSlice) {
        more = true;
        from = std::string(key);
        return false;
      }
      ++seen;
      pb::Chunk chunk;
      damaged = !chunk.ParseFromArray(value.data(), static_cast<int>(value.size()));
      const bool copying = !damaged && repairs_.copying(ChunkId::from_raw(chunk.id()));
      if (!damaged) add(chunk, state_of, copying, count.get());
      return !damaged;
    };
    CO_TRY_VOID(env_.tables.scan(from, end, visit));
    if (damaged) co_return fail(Code::kCorrupt, "a row of the chunk map is malformed");
    if (!more) break;
    if (env_.stopping) co_return fail(Code::kCancelled, "the MDS is stopping");
    co_await runtime::yield_turn(env_.runtime);
  }
  co_return Shared(count);
}

ChunkState ChunkCensus::state_of(const pb::Chunk& chunk) const {
  const Instant now = env_.runtime.now();
  const ChunkState state =
      chunk_state(chunk, [this, now](std::uint32_t cs) { return board_.state_of(cs, now); });
  return with_repair(state, repairs_.copying(ChunkId::from_raw(chunk.id())));
}

void ChunkCensus::add(const pb::Chunk& chunk,
                      const std::function<CsState(std::uint32_t cs)>& state_of, bool copying,
                      Count* count_of) {
  const ChunkState state = with_repair(chunk_state(chunk, state_of), copying);
  count(state, &count_of->states);
  std::uint32_t readable = 0;
  std::uint32_t active = 0;
  const auto counts = [&](const pb::Piece& piece) {
    return piece.state() == pb::PIECE_UNWRITTEN || state_of(piece.cs_id()) != CsState::kOffline;
  };
  const auto lost = [](const pb::Piece& piece) {
    return piece.state() == pb::PIECE_MISSING || piece.cs_id() == 0;
  };
  for (const pb::Piece& piece : chunk.pieces()) {
    if (lost(piece)) {
      ++count_of->missing_pieces;
    } else if (counts(piece)) {
      ++readable;
    }
    if (!lost(piece) && state_of(piece.cs_id()) == CsState::kActive) ++active;
  }
  if (chunk.encoding().parity() != 0 && active == chunk.encoding().data()) ++count_of->at_edge;
  for (const pb::Piece& piece : chunk.pieces()) {
    if (lost(piece)) continue;
    PerCs& cs = count_of->by_cs[piece.cs_id()];
    ++cs.chunks[state];
    if (piece.state() != pb::PIECE_CURRENT) continue;
    ++cs.written;
    const std::uint32_t elsewhere = readable - (counts(piece) ? 1 : 0);
    if (elsewhere < chunk.encoding().data()) ++cs.unique;
  }
}

}  // namespace cairn::mds::master
