// What a simulated store is asked in quiet moments.
#include <fmt/format.h>

#include "chunkserver/testing/store_calls.h"
#include "chunkserver/testing/store_sim.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::testing {

std::optional<PieceSight> StoreSim::see(PieceId piece) {
  constexpr int kLooks = 50;  // each heals what it stumbled over
  for (int i = 0; i < kLooks; ++i) {
    if (dead()) return std::nullopt;
    std::string broken;
    const Result<PieceSight> sight = world_.loop().run(look(&world_.store(), piece, &broken));
    if (!broken.empty()) {
      fail_with(broken);
      return std::nullopt;
    }
    if (sight.has_value()) return *sight;
    if (dead()) return std::nullopt;
    const Code code = sight.error().code();
    const bool hurt = code == Code::kChecksumMismatch || code == Code::kDiskFailed;
    if (!hurt || !heal_known()) {
      if (dead()) return std::nullopt;
      fail_with(
          fmt::format("piece {} cannot be read: {}", piece.chunk.raw(), sight.error().to_string()));
      return std::nullopt;
    }
  }
  fail_with(fmt::format("piece {} cannot be healed", piece.chunk.raw()));
  return std::nullopt;
}

std::optional<Buffer> StoreSim::content_of(const store::DamagedBlock& damaged) const {
  const auto wound = wounds_.find(damaged.home);
  // In a damaged ring it may not be at home yet.
  if (wound == wounds_.end() && !ring_wound_.has_value()) return std::nullopt;
  if (wound != wounds_.end() && crc32c(wound->second.content.span()) == damaged.crc) {
    return Buffer::copy_of(wound->second.content.span());
  }
  // Or it was written after the wound, and the sector is bad still.
  const auto written = contents_.find(damaged.crc);
  if (written == contents_.end()) return std::nullopt;
  return block_of(written->second);
}

Task<bool> StoreSim::heal_damaged() {
  bool any = false;
  const std::vector<store::DamagedBlock> known = world_.store().damaged();
  for (const store::DamagedBlock& damaged : known) {
    if (dead()) co_return false;  // reads of a dead drive fail, too
    std::optional<Buffer> content = content_of(damaged);
    if (!content.has_value()) {
      fail_with(fmt::format("block {} of piece {} is called damaged, and nobody hurt block {}",
                            damaged.block, damaged.piece.chunk.raw(), damaged.home));
      co_return false;
    }
    ++stats_.wounds_found;
    std::vector<store::DamagedBlock> blocks{damaged};
    const Status healed =
        co_await world_.store().heal(damaged.piece, std::move(blocks), std::move(*content));
    // Beside other calls the piece may be gone by now.
    if (!healed.has_value() && healed.error().code() != Code::kPieceMissing) {
      if (!dead()) fail_with("a block was not healed: " + healed.error().to_string());
      co_return false;
    }
    note(fmt::format("healed block {} at {}", damaged.block, damaged.home));
    ++stats_.healed;
    any = true;
  }
  co_return any;
}

void StoreSim::wound_data() {
  if (failed() || dead()) return;
  world_.power().disarm();
  const std::optional<store::RingPlace> ring = world_.ring_place();
  const std::uint64_t blocks = world_.disk_blocks();
  if (blocks <= store::kReservedBlocks) return;
  if (!ring.has_value() || blocks == store::kReservedBlocks) return;
  for (int tries = 0; tries < 20; ++tries) {
    const std::uint64_t at = store::kReservedBlocks + prng_.below(blocks - store::kReservedBlocks);
    if (!ring->external() && at >= ring->first && at < ring->first + ring->blocks) continue;
    const DiskOffset offset(at * kBlockBytes);
    const std::optional<Buffer> content = world_.read_beside(offset);
    if (!content.has_value() || !value_of(content->span()).value_or(0)) continue;
    Wound wound{*content, prng_.next(), prng_.chance(300)};
    if (wound.sector) {
      world_.disk().fail_block(offset);
    } else if (!world_.disk().rot(offset, wound.seed)) {
      continue;
    }
    note(fmt::format("block {} is hurt", at));
    wounds_.insert_or_assign(at, std::move(wound));
    ++stats_.wounds;
    // So that it does not lie in the last batch, where it could not be told from an unfinished
    // write.
    const Status done = world_.loop().run(world_.store().checkpoint());
    if (!done.has_value() && !dead()) fail_with("a checkpoint fails: " + done.error().to_string());
    return;
  }
}

std::vector<PieceId> StoreSim::living() const {
  std::vector<PieceId> pieces;
  for (const auto& [piece, model] : models_) {
    if (model.exists()) pieces.push_back(piece);
  }
  return pieces;
}

void StoreSim::check_scrub() {
  std::vector<PieceId> listed;
  std::optional<PieceId> after;
  for (;;) {
    const Result<std::optional<PieceId>> next = world_.loop().run(world_.store().next_piece(after));
    if (!next.has_value()) {
      if (!dead()) fail_with("the scrub fails: " + next.error().to_string());
      return;
    }
    if (!next->has_value()) break;
    after = **next;
    listed.push_back(**next);
    if (listed.size() > models_.size()) break;
  }
  if (listed != living()) fail_with("the scrub does not see the pieces that are there");
  for (const PieceId piece : living()) {
    const auto facts = world_.loop().run(world_.store().facts(piece));
    const auto stored = world_.loop().run(world_.store().stored(piece, 0, UINT32_MAX));
    if (!facts.has_value() || !stored.has_value()) {
      if (!dead()) fail_with("the scrub does not find a piece");
      return;
    }
    if (*facts != facts_of(piece)) fail_with("a piece has other facts than it was given");
    if (*stored != ranges_of(models_[piece].newest())) {
      fail_with(fmt::format("the scrub sees other blocks of piece {}", piece.chunk.raw()));
    }
  }
}

void StoreSim::check_accounts() {
  std::uint64_t blocks = 0;
  for (const auto& [piece, model] : models_) blocks += model.stored_blocks();
  const store::StoreStatistics now = world_.store().statistics();
  if (now.used_bytes != blocks * kBlockBytes) {
    fail_with(
        fmt::format("{} blocks are used, {} are stored", now.used_bytes / kBlockBytes, blocks));
  }
  const ByteCount ring = now.journal_directory.empty() ? now.journal_bytes : 0;
  // Folds and heals may have taken of what is kept for them.
  const ByteCount taken = std::min(*capacity_, now.used_bytes + ring);
  if (now.free_bytes != *capacity_ - taken) {
    fail_with(fmt::format("{} blocks free, {} used, {} ring: not {}", now.free_bytes / kBlockBytes,
                          now.used_bytes / kBlockBytes, ring / kBlockBytes,
                          *capacity_ / kBlockBytes));
  }
  if (now.pieces != living().size()) fail_with("the pieces are not counted right");
}

void StoreSim::check_deeply() {
  survive();
  if (failed()) return;
  ++stats_.deep_checks;
  note("a deep check");
  // Folds come to their end.
  judge({}, Ending::kAlive, true);
  if (failed()) return;
  world_.loop().run_for(20s);
  // A fold may have met damage below what reads see.
  for (int i = 0; i < 4 && !dead() && !failed() && heal_known(); ++i) world_.loop().run_for(20s);
  if (!dead()) world_.loop().run(world_.store().quiesce());
  if (!dead()) judge({}, Ending::kAlive, true);
  if (failed()) return;
  if (!dead()) check_scrub();
  if (!dead() && !failed()) check_accounts();
  if (!dead() && !failed()) {
    const Status consistent = world_.store().check_consistency();
    if (!consistent.has_value()) fail_with(consistent.error().to_string());
  }
  if (dead() || failed() || !prng_.chance(300)) return;
  const Status done = world_.loop().run(world_.store().commit_all());
  if (dead()) return;
  const store::StoreStatistics now = world_.store().statistics();
  if (!done.has_value()) fail_with("a commit fails: " + done.error().to_string());
  if (!now.clean || now.journal_backlog_bytes != 0) fail_with("something is left to commit");
}

// Blocks that could be written.
std::uint64_t StoreSim::fill() {
  const PieceId piece = piece_id(1'000'000);
  std::uint64_t written = 0;
  std::uint64_t size = 64;
  for (std::uint64_t seq = 1; size != 0; ++seq) {
    std::vector<std::uint64_t> values(size);
    for (std::uint64_t& value : values) value = prng_.next();
    MadePrepare made = make_prepare(piece, 1, op_id(1, seq), {{written, size}}, std::move(values));
    made.request.facts = facts_of(piece);
    store::PrepareRequest request = std::move(made.request);
    const Status done =
        world_.loop().run(world_.store().prepare(std::move(request), std::move(made.body)));
    if (dead()) return written;
    if (done.has_value()) {
      written += size;
    } else if (done.error().code() == Code::kNoSpace) {
      size /= 2;
    } else {
      fail_with("the disk cannot be filled: " + done.error().to_string());
      return written;
    }
  }
  return written;
}

void StoreSim::check_fill() {
  world_.power().disarm();
  if (failed() || dead()) return;
  ++stats_.fills;
  note("the disk is filled");
  const std::uint64_t free = world_.store().statistics().free_bytes / kBlockBytes;
  const std::uint64_t written = fill();
  if (failed() || dead()) return;
  if (written != free) fail_with(fmt::format("{} blocks are free, {} fit", free, written));
  if (world_.store().statistics().free_bytes != 0) fail_with("a full disk has free space");
  const Status removed = world_.loop().run(world_.store().remove(piece_id(1'000'000)));
  if (dead()) return;
  if (!removed.has_value())
    fail_with("a full disk does not remove: " + removed.error().to_string());
  world_.loop().run_for(5s);
  if (!dead() && !failed()) check_accounts();
}

void StoreSim::finish() {
  world_.power().disarm();
  survive();
  if (failed()) return;
  for (auto& [piece, model] : models_) {
    const Status removed = world_.loop().run(world_.store().remove(piece));
    if (!removed.has_value()) {
      if (!dead()) fail_with("a piece is not removed: " + removed.error().to_string());
      return;
    }
    model = PieceModel();
  }
  world_.loop().run_for(5s);
  if (!dead()) world_.loop().run(world_.store().quiesce());
  if (!dead()) check_accounts();
  restart();
}

}  // namespace cairn::chunkserver::testing
