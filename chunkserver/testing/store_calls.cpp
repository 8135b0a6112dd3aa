#include "chunkserver/testing/store_calls.h"

#include <fmt/format.h>

#include "chunkserver/testing/store_world.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::testing {
namespace {

CallAnswer answer_of(const Error& error) {
  CallAnswer answer;
  answer.code = error.code();
  answer.text = error.to_string();
  return answer;
}
CallAnswer answer_of(const Status& status) {
  return status.has_value() ? CallAnswer() : answer_of(status.error());
}

Task<Status> prepare(store::PieceStore* store, PieceId piece, const ModelPrepare* prepare) {
  std::vector<std::uint64_t> values;
  for (const auto& [block, value] : prepare->writes) values.push_back(value);
  for (const auto& [block, value] : prepare->deltas) values.push_back(value);
  MadePrepare made =
      make_prepare(piece, prepare->version, op_id(prepare->op.first, prepare->op.second),
                   ranges_of(prepare->writes), std::move(values), ranges_of(prepare->deltas));
  made.request.zeroes = ranges_of(prepare->zeroes);
  made.request.settled_below = OpSeq(prepare->settled_below);
  made.request.create = prepare->create;
  made.request.facts = facts_of(piece);
  store::PrepareRequest request = std::move(made.request);
  Buffer body = std::move(made.body);
  co_return co_await store->prepare(std::move(request), std::move(body));
}

void take_seal(const store::SealAnswer& answer, CallAnswer* into, std::string* broken) {
  ModelOp last;
  for (const store::UndecidedOp& op : answer.undecided) {
    const ModelOp id(op.op.epoch.raw(), op.op.seq.raw());
    if (!into->listed.empty() && id <= last) *broken = "a seal lists ops out of order";
    if (op.participants != 1) *broken = "a seal lists an op with other participants";
    last = id;
    into->listed.emplace(id, op.forwarded);
  }
  into->settled = {answer.settled.epoch.raw(), answer.settled.seq.raw()};
}

bool covered(const std::vector<store::BlockRange>& ranges, std::uint64_t block) {
  return std::ranges::any_of(
      ranges, [block](const auto& range) { return range.first <= block && block < range.end(); });
}

void take_read(const std::vector<store::BlockRange>& asked, const store::ReadAnswer& answer,
               CallAnswer* into, std::string* broken) {
  if (answer.bytes.size() != store::total_blocks(answer.present) * kBlockBytes ||
      answer.crcs.size() != store::total_blocks(answer.present)) {
    *broken = "a read has not the bytes it says";
    return;
  }
  std::size_t i = 0;
  std::uint64_t end = 0;
  for (const store::BlockRange& range : answer.present) {
    if (range.first < end) *broken = "a read has its blocks out of order";
    end = range.end();
    for (std::uint64_t block = range.first; block < range.end(); ++block, ++i) {
      const Bytes bytes = answer.bytes.span().subspan(i * kBlockBytes, kBlockBytes);
      if (crc32c(bytes) != answer.crcs[i]) *broken = "a read has a CRC that does not fit its bytes";
      if (!covered(asked, block)) *broken = "a read has blocks nobody asked for";
      const std::optional<std::uint64_t> value = value_of(bytes);
      if (!value.has_value()) *broken = fmt::format("block {} has bytes nobody wrote", block);
      into->view.emplace(block, value.value_or(0));
    }
  }
}

}  // namespace

store::PieceFacts facts_of(PieceId piece) {
  return {.generator = 1,
          .data = 5,
          .parity = 2,
          .cell_bytes = 1 << 20,
          .inode = 1000 + piece.chunk.raw(),
          .chunk_index = piece.chunk.raw() % 7};
}

Task<CallAnswer> issue(store::PieceStore* store, PieceId piece, const ModelCall* call,
                       std::string* broken) {
  if (const auto* one = std::get_if<ModelPrepare>(call)) {
    const Status status = co_await prepare(store, piece, one);
    co_return answer_of(status);
  }
  if (const auto* one = std::get_if<ModelSettle>(call)) {
    const Status status =
        co_await store->settle(piece, op_id(one->epoch, one->below), ChunkVersion(one->version));
    co_return answer_of(status);
  }
  if (const auto* one = std::get_if<ModelSeal>(call)) {
    const Result<store::SealAnswer> sealed =
        co_await store->seal(piece, ChunkVersion(one->version), LeaseEpoch(one->epoch));
    if (!sealed.has_value()) co_return answer_of(sealed.error());
    CallAnswer answer;
    take_seal(*sealed, &answer, broken);
    co_return answer;
  }
  if (const auto* one = std::get_if<ModelResolve>(call)) {
    std::vector<store::OpId> forward;
    for (const auto& [epoch, seq] : one->forward) forward.push_back(op_id(epoch, seq));
    const Status status = co_await store->resolve(piece, ChunkVersion(one->version),
                                                  LeaseEpoch(one->epoch), std::move(forward));
    co_return answer_of(status);
  }
  if (const auto* one = std::get_if<ModelRead>(call)) {
    std::vector<store::BlockRange> ranges;
    for (const auto& [first, count] : one->ranges) ranges.push_back({first, count});
    std::vector<store::BlockRange> asked = ranges;
    const Result<store::ReadAnswer> read = co_await store->read(piece, std::move(asked));
    if (!read.has_value()) co_return answer_of(read.error());
    CallAnswer answer;
    take_read(ranges, *read, &answer, broken);
    co_return answer;
  }
  const Status status = co_await store->remove(piece);
  co_return answer_of(status);
}

Task<Result<PieceSight>> look(store::PieceStore* store, PieceId piece, std::string* broken) {
  const Result<store::PieceStatusAnswer> status = co_await store->status(piece);
  if (!status.has_value()) {
    if (status.error().code() == Code::kPieceMissing) co_return PieceSight();
    co_return fail(status.error());
  }
  PieceSight sight{.exists = true,
                   .version = status->version.raw(),
                   .epoch = status->epoch.raw(),
                   .settled = {},
                   .blocks = {},
                   .listed = {},
                   .undecided = status->undecided};
  const Result<store::SealAnswer> sealed =
      co_await store->seal(piece, status->version, status->epoch);
  if (!sealed.has_value()) co_return fail(sealed.error());
  CallAnswer answer;
  take_seal(*sealed, &answer, broken);
  std::vector<store::BlockRange> asked{{kAreaFirst, kAreaBlocks}};
  const std::vector<store::BlockRange> area = asked;
  const Result<store::ReadAnswer> read = co_await store->read(piece, std::move(asked));
  if (!read.has_value()) co_return fail(read.error());
  take_read(area, *read, &answer, broken);
  sight.settled = answer.settled;
  sight.listed = std::move(answer.listed);
  sight.blocks = std::move(answer.view);
  co_return sight;
}

}  // namespace cairn::chunkserver::testing
