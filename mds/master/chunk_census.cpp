#include "mds/master/chunk_census.h"

#include "mds/state/keys.h"

namespace cairn::mds::master {

namespace keys = state::keys;

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
  count->at = env_.runtime.now();
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
      if (!damaged) add(chunk, count.get());
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
  return chunk_state(chunk, [this, now](std::uint32_t cs) { return board_.state_of(cs, now); });
}

void ChunkCensus::add(const pb::Chunk& chunk, Count* count_of) const {
  const ChunkState state = state_of(chunk);
  count(state, &count_of->states);
  const Instant now = env_.runtime.now();
  std::uint32_t readable = 0;
  for (const pb::Piece& piece : chunk.pieces()) {
    const bool lost = piece.state() == pb::PIECE_MISSING || piece.cs_id() == 0;
    if (lost) ++count_of->missing_pieces;
    if (!lost && board_.state_of(piece.cs_id(), now) != CsState::kOffline) ++readable;
  }
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() == pb::PIECE_MISSING || piece.cs_id() == 0) continue;
    PerCs& cs = count_of->by_cs[piece.cs_id()];
    ++cs.chunks[state];
    const bool here = board_.state_of(piece.cs_id(), now) != CsState::kOffline;
    if (here && readable == chunk.encoding().data()) ++cs.unique;
  }
}

}  // namespace cairn::mds::master
