// Blocks of one piece, and blocks rebuilt from other pieces.
#include <algorithm>
#include <utility>

#include "client/core/reader.h"
#include "common/base/crc32c.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {

constexpr Duration kSlowRead = 1500ms;  // then it is read around, if that is possible
constexpr Duration kAttempt = 8s;       // when it is not

unsigned count_of(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }

// The reply's blocks, checked, with zeros for the holes. kChecksumMismatch tells which are `wrong`.
Result<std::vector<Buffer>> assemble(const net::Payload& answer, layout::BlockRun run,
                                     std::vector<layout::BlockRun>* wrong) {
  pb::ReadReply reply;
  if (!reply.ParseFromString(answer.meta)) return fail(Code::kProtocol, "bad ReadReply");
  const Buffer body = answer.body.empty() ? Buffer() : answer.body.front();
  if (answer.body.size() > 1 || reply.crcs().size() % 4 != 0 ||
      body.size() != reply.crcs().size() / 4 * kBlockBytes) {
    return fail(Code::kProtocol, "ReadReply and its body disagree");
  }
  std::vector<Buffer> parts;
  std::vector<std::uint64_t> numbers;  // of the body's blocks
  std::uint64_t at = run.first;
  std::size_t taken = 0;  // blocks of the body
  const std::size_t blocks = body.size() / kBlockBytes;
  for (const pb::BlockRange& range : reply.present()) {
    if (range.first() < at || range.count() > blocks - taken ||
        range.first() - run.first > run.count ||
        range.count() > run.count - (range.first() - run.first)) {
      return fail(Code::kProtocol, "ReadReply with blocks that were not asked for");
    }
    append_zeros(parts, (range.first() - at) * kBlockBytes);
    if (range.count() != 0) {
      parts.push_back(body.slice(taken * kBlockBytes, range.count() * kBlockBytes));
    }
    for (std::uint64_t i = 0; i < range.count(); ++i) numbers.push_back(range.first() + i);
    taken += range.count();
    at = range.first() + range.count();
  }
  if (taken != blocks) return fail(Code::kProtocol, "ReadReply with too many blocks");
  append_zeros(parts, (run.first + run.count - at) * kBlockBytes);
  const auto* crcs = reinterpret_cast<const std::byte*>(reply.crcs().data());
  for (std::size_t i = 0; i < blocks; ++i) {
    const Bytes block = body.span().subspan(i * kBlockBytes, kBlockBytes);
    if (crc32c(block) == load_le<std::uint32_t>(crcs + 4 * i)) continue;
    if (!wrong->empty() && wrong->back().first + wrong->back().count == numbers[i]) {
      ++wrong->back().count;
    } else {
      wrong->push_back({numbers[i], 1});
    }
  }
  if (!wrong->empty()) return fail(Code::kChecksumMismatch, "a block arrived with a wrong CRC");
  return parts;
}

Buffer contiguous(const std::vector<Buffer>& parts, std::size_t bytes) {
  if (parts.size() == 1) return parts.front();
  Buffer whole = Buffer::allocate(bytes);
  std::size_t at = 0;
  for (const Buffer& part : parts) {
    std::memcpy(whole.data() + at, part.data(), part.size());
    at += part.size();
  }
  CHECK_EQ(at, bytes);
  return whole;
}

}  // namespace

Task<void> Reader::read_into(InodePtr /*inode*/, Span span, unsigned piece,
                             std::shared_ptr<const ChunkView> view, Deadline deadline,
                             PartsResult* result) {
  *result = co_await read_piece(std::move(view), piece, span.run, deadline);
}

Task<Reader::PartsResult> Reader::rebuild(InodePtr inode, Span span, PieceMask broken,
                                          Deadline deadline) {
  const std::shared_ptr<const ChunkView> view = span.chunk->view;
  const erasure::Encoding encoding = span.encoding;
  const unsigned pieces = static_cast<unsigned>(view->pieces.size());
  const std::size_t bytes = span.run.count * kBlockBytes;
  std::vector<Buffer> have(pieces);
  std::vector<unsigned> candidates;
  PieceMask got = 0;
  const PieceMask zero = view->unwritten | span.chunk->fresh;
  for (unsigned i = 0; i < pieces && count_of(got) < encoding.data; ++i) {
    if ((zero & piece_bit(i)) == 0 || i == span.piece) continue;
    have[i] = zeros(bytes);
    got |= piece_bit(i);
  }
  for (unsigned i = 0; i < pieces; ++i) {
    if ((view->current & ~zero & ~broken & piece_bit(i)) != 0) candidates.push_back(i);
  }
  std::ranges::stable_partition(candidates,
                                [&](unsigned i) { return is_quick(view->pieces[i].address); });
  std::size_t next = 0;
  while (count_of(got) < encoding.data) {
    const std::size_t need = encoding.data - count_of(got);
    if (candidates.size() - next < need) {
      co_return fail(Code::kTooFewPieces, "fewer than " + std::to_string(encoding.data) +
                                              " pieces of chunk " + std::to_string(view->id.raw()) +
                                              " can be read");
    }
    const bool spare = candidates.size() - next > need;
    const Deadline until = std::min(deadline, runtime_.after(spare ? kSlowRead : kAttempt));
    std::vector<PartsResult> results(need);
    runtime::TaskGroup group(runtime_);
    for (std::size_t i = 0; i < need; ++i) {
      group.spawn(read_into(inode, span, candidates[next + i], view, until, &results[i]));
    }
    co_await group.join();
    for (std::size_t i = 0; i < need; ++i) {
      const unsigned piece = candidates[next + i];
      if (!results[i].has_value()) continue;
      have[piece] = contiguous(*results[i], bytes);
      got |= piece_bit(piece);
    }
    next += need;
  }
  if (encoding.data == 1) {
    Parts parts;
    parts.push_back(have[static_cast<unsigned>(std::countr_zero(got))]);
    co_return parts;
  }
  have[span.piece] = Buffer::allocate(bytes);
  std::vector<std::byte*> pointers;
  for (Buffer& buffer : have) pointers.push_back(buffer.data());
  const auto codec = erasure::Codec::get(encoding.data, encoding.parity);
  CO_TRY_VOID(codec->rebuild(got, piece_bit(span.piece), pointers, bytes));
  Parts parts;
  parts.push_back(std::move(have[span.piece]));
  co_return parts;
}

// A wrong CRC may come from the way here, so it is asked for once more; the chunk server looks at
// its drive in any case.
Task<Reader::PartsResult> Reader::read_piece(std::shared_ptr<const ChunkView> view, unsigned piece,
                                             layout::BlockRun run, Deadline deadline) {
  const std::string& address = view->pieces[piece].address;
  pb::Read ask;
  ask.set_chunk(view->id.raw());
  ask.set_piece(piece);
  ask.set_version(view->version.raw());
  pb::BlockRange& range = *ask.add_ranges();
  range.set_first(run.first);
  range.set_count(static_cast<std::uint32_t>(run.count));
  PartsResult parts;
  for (int attempt = 0; attempt < 2; ++attempt) {
    net::Payload request;
    request.meta = ask.SerializeAsString();
    const Instant began = runtime_.now();
    book_.began(address, began);
    const Result<net::Payload> answer =
        co_await links_.call(address, pb::OP_READ, std::move(request), deadline);
    book_.ended(address, began);
    const bool late = !answer.has_value() && answer.error().code() == Code::kTimeout;
    if (late) links_.mark_slow(address);
    if (late || answer.has_value()) book_.add(address, runtime_.now() - began);
    if (!answer.has_value()) co_return fail(answer.error());
    std::vector<layout::BlockRun> wrong;
    parts = assemble(*answer, run, &wrong);
    if (wrong.empty()) break;
    report(*view, piece, wrong);
  }
  co_return parts;
}

void Reader::report(const ChunkView& view, unsigned piece,
                    const std::vector<layout::BlockRun>& wrong) {
  pb::Check check;
  check.set_chunk(view.id.raw());
  check.set_piece(piece);
  for (const layout::BlockRun& run : wrong) {
    pb::BlockRange& range = *check.add_ranges();
    range.set_first(run.first);
    range.set_count(static_cast<std::uint32_t>(run.count));
  }
  net::Payload request;
  request.meta = check.SerializeAsString();
  links_.post(view.pieces[piece].address, pb::OP_CHECK, std::move(request));
}

}  // namespace cairn::client
