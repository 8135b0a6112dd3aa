#include "chunkserver/care/block_checks.h"

#include <utility>

namespace cairn::chunkserver::care {

void BlockChecks::add(PieceId piece, const std::vector<store::BlockRange>& ranges) {
  if (halted()) return;
  for (const store::BlockRange& range : ranges) {
    for (std::uint64_t block = range.first; block < range.end(); ++block) {
      if (blocks_ == kChecksMax) {
        ++figures_.dropped;
        continue;
      }
      const auto [at, fresh] = waiting_.try_emplace(piece);
      if (fresh) order_.push_back(piece);
      if (!at->second.insert(block).second) continue;
      ++blocks_;
      ++figures_.taken;
    }
  }
  if (waiting_.empty() || running_) return;
  running_ = true;
  group_.spawn(run());
}

Task<void> BlockChecks::stop() {
  stopping_ = true;
  co_await group_.join();
}

std::vector<store::BlockRange> BlockChecks::take(PieceId* piece) {
  *piece = order_.front();
  order_.pop_front();
  const auto at = waiting_.find(*piece);
  std::set<std::uint64_t>& blocks = at->second;
  std::vector<store::BlockRange> ranges;
  for (std::size_t n = 0; n < kCheckReadBlocks && !blocks.empty(); ++n, --blocks_) {
    const std::uint64_t block = *blocks.begin();
    blocks.erase(blocks.begin());
    if (!ranges.empty() && ranges.back().end() == block) {
      ++ranges.back().count;
    } else {
      ranges.push_back({block, 1});
    }
  }
  if (blocks.empty()) {
    waiting_.erase(at);
  } else {
    order_.push_back(*piece);
  }
  return ranges;
}

Task<void> BlockChecks::run() {
  while (!waiting_.empty() && !halted()) {
    PieceId piece;
    std::vector<store::BlockRange> ranges = take(&piece);
    const std::uint64_t count = store::total_blocks(ranges);
    const Result<store::ReadAnswer> answer = co_await door_.read(piece, std::move(ranges));
    if (answer.has_value()) {
      log_.info("{} blocks of piece {}.{} that somebody doubts are right here", count,
                piece.chunk.raw(), piece.index.raw());
      continue;
    }
    const Code code = answer.error().code();
    if (code == Code::kChecksumMismatch || code == Code::kDiskFailed) ++figures_.bad_reads;
    log_.info("of {} blocks of piece {}.{} that somebody doubts: {}", count, piece.chunk.raw(),
              piece.index.raw(), answer.error().to_string());
  }
  running_ = false;
}

}  // namespace cairn::chunkserver::care
