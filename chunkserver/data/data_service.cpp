#include "chunkserver/data/data_service.h"

#include <fmt/format.h>

#include "chunkserver/data/decode.h"
#include "proto/data_plane.pb.h"

namespace cairn::chunkserver::data {
namespace {

std::unexpected<Error> undecodable(const char* what) {
  return fail(Code::kProtocol, fmt::format("undecodable {}", what));
}

bool is_aligned(const Buffer& buffer) {
  return reinterpret_cast<std::uintptr_t>(buffer.data()) % kBlockBytes == 0;
}

// The body as one aligned buffer: as a channel delivers it; other callers may have it in parts.
Buffer one_body(std::vector<Buffer> parts) {
  if (parts.empty()) return Buffer();
  if (parts.size() == 1 && is_aligned(parts[0])) return std::move(parts[0]);
  std::size_t total = 0;
  for (const Buffer& part : parts) total += part.size();
  Buffer body = Buffer::allocate(total);
  std::size_t at = 0;
  for (const Buffer& part : parts) {
    if (!part.empty()) std::memcpy(body.data() + at, part.data(), part.size());
    at += part.size();
  }
  return body;
}

// Counts a request while it runs.
class Active {
 public:
  explicit Active(std::uint64_t* count) : count_(count) { ++*count_; }
  ~Active() { --*count_; }
  Active(const Active&) = delete;
  Active& operator=(const Active&) = delete;

 private:
  std::uint64_t* count_;
};

}  // namespace

Task<Result<net::Payload>> DataService::handle(std::uint16_t op, net::Payload request) {
  switch (op) {
    case pb::OP_PREPARE:
      co_return co_await prepare(std::move(request));
    case pb::OP_READ:
      co_return co_await read(std::move(request));
    case pb::OP_SETTLE:
      co_return co_await settle(std::move(request));
    case pb::OP_SEAL:
      co_return co_await seal(std::move(request));
    case pb::OP_RESOLVE:
      co_return co_await resolve(std::move(request));
    case pb::OP_PIECE_STATUS:
      co_return co_await piece_status(std::move(request));
    case pb::OP_REPAIR:
      co_return co_await repair(std::move(request));
    case pb::OP_CHECK:
      co_return check(request);
    case pb::OP_PING:
      co_return net::Payload();
    default:
      co_return fail(Code::kUnsupported, fmt::format("op {} at a chunk server", op));
  }
}

Task<Result<net::Payload>> DataService::prepare(net::Payload request) {
  const Active active(&figures_.active);
  Buffer body = one_body(std::move(request.body));
  Result<store::PrepareRequest> decoded = decode_prepare(request.meta, std::as_const(body).span());
  if (!decoded.has_value()) {
    if (decoded.error().code() == Code::kChecksumMismatch) ++figures_.damaged;
    co_return fail(std::move(decoded).error());
  }
  const std::size_t size = body.size();
  store::PrepareRequest prepare = std::move(*decoded);
  if (store_.sabotage().skip_fence) {
    const Status unfenced = co_await unfence(&prepare);
    ignore(unfenced, "a piece that is not there has no fence");
  }
  CO_TRY_VOID(co_await store_.prepare(std::move(prepare), std::move(body)));
  ++figures_.writes;
  figures_.bytes_written += size;
  co_return net::Payload();
}

// Planted by tests: what is stale becomes news.
Task<Status> DataService::unfence(store::PrepareRequest* request) {
  CO_TRY(const store::PieceStatusAnswer now, co_await store_.status(request->piece));
  request->version = std::max(request->version, now.version);
  request->op.epoch = std::max(request->op.epoch, now.epoch);
  co_return Status();
}

Task<Result<net::Payload>> DataService::read(net::Payload request) {
  const Active active(&figures_.active);
  pb::Read read;
  if (!read.ParseFromString(request.meta)) co_return undecodable("READ");
  CO_TRY(const PieceId piece, decode_piece(read.chunk(), read.piece()));
  CO_TRY(std::vector<store::BlockRange> ranges,
         decode_ranges(read.ranges(), store::kReadBlocksMax));
  CO_TRY(store::ReadAnswer answer, co_await store_.read(piece, std::move(ranges)));
  ++figures_.reads;
  figures_.bytes_read += answer.bytes.size();
  pb::ReadReply reply;
  encode_ranges(answer.present, reply.mutable_present());
  reply.set_crcs(encode_crcs(answer.crcs));
  net::Payload payload;
  payload.meta = reply.SerializeAsString();
  if (!answer.bytes.empty()) payload.body.push_back(std::move(answer.bytes));
  co_return payload;
}

Task<Result<net::Payload>> DataService::settle(net::Payload request) {
  pb::Settle settle;
  if (!settle.ParseFromString(request.meta)) co_return undecodable("SETTLE");
  CO_TRY(const PieceId piece, decode_piece(settle.chunk(), settle.piece()));
  const store::OpId below{LeaseEpoch(settle.epoch()), OpSeq(settle.settled_below())};
  CO_TRY_VOID(co_await store_.settle(piece, below, ChunkVersion(settle.version())));
  co_return net::Payload();
}

Task<Result<net::Payload>> DataService::seal(net::Payload request) {
  pb::Seal seal;
  if (!seal.ParseFromString(request.meta)) co_return undecodable("SEAL");
  CO_TRY(const PieceId piece, decode_piece(seal.chunk(), seal.piece()));
  const ChunkVersion version(seal.version());
  const LeaseEpoch epoch(seal.epoch());
  CO_TRY(const store::SealAnswer answer, co_await store_.seal(piece, version, epoch));
  pb::SealReply reply;
  for (const store::UndecidedOp& op : answer.undecided) {
    pb::SealReply::Undecided* one = reply.add_undecided();
    one->set_epoch(op.op.epoch.raw());
    one->set_seq(op.op.seq.raw());
    one->set_participants(op.participants);
    one->set_forwarded(op.forwarded);
    one->set_first_block(op.hull.first);
    one->set_end_block(op.hull.end());
  }
  reply.set_settled_epoch(answer.settled.epoch.raw());
  reply.set_settled_below(answer.settled.seq.raw());
  net::Payload payload;
  payload.meta = reply.SerializeAsString();
  co_return payload;
}

Task<Result<net::Payload>> DataService::resolve(net::Payload request) {
  pb::Resolve resolve;
  if (!resolve.ParseFromString(request.meta)) co_return undecodable("RESOLVE");
  CO_TRY(const PieceId piece, decode_piece(resolve.chunk(), resolve.piece()));
  // It answers what a seal listed, which is bounded by the ops a piece holds and remembers.
  if (static_cast<std::size_t>(resolve.forward_size()) > 64 * store::kPendingOpsMax) {
    co_return fail(Code::kInvalidArgument, "too many ops in one RESOLVE");
  }
  std::vector<store::OpId> forward;
  for (const pb::Resolve::OpId& op : resolve.forward()) {
    forward.push_back({LeaseEpoch(op.epoch()), OpSeq(op.seq())});
  }
  const ChunkVersion version(resolve.version());
  const LeaseEpoch epoch(resolve.epoch());
  CO_TRY_VOID(co_await store_.resolve(piece, version, epoch, std::move(forward)));
  co_return net::Payload();
}

Task<Result<net::Payload>> DataService::piece_status(net::Payload request) {
  pb::PieceStatus status;
  if (!status.ParseFromString(request.meta)) co_return undecodable("PIECE_STATUS");
  CO_TRY(const PieceId piece, decode_piece(status.chunk(), status.piece()));
  CO_TRY(const store::PieceStatusAnswer answer, co_await store_.status(piece));
  pb::PieceStatusReply reply;
  reply.set_version(answer.version.raw());
  reply.set_epoch(answer.epoch.raw());
  reply.set_blocks(answer.blocks);
  reply.set_undecided(answer.undecided);
  net::Payload payload;
  payload.meta = reply.SerializeAsString();
  co_return payload;
}

Task<Result<net::Payload>> DataService::repair(net::Payload request) {
  pb::Repair repair;
  if (!repair.ParseFromString(request.meta)) co_return undecodable("REPAIR");
  if (!hooks_.repair) co_return fail(Code::kUnsupported, "nothing is repaired here");
  CO_TRY(const pb::RepairReply reply, co_await hooks_.repair(std::move(repair)));
  net::Payload payload;
  payload.meta = reply.SerializeAsString();
  co_return payload;
}

Result<net::Payload> DataService::check(const net::Payload& request) {
  pb::Check check;
  if (!check.ParseFromString(request.meta)) return undecodable("CHECK");
  TRY(const PieceId piece, decode_piece(check.chunk(), check.piece()));
  TRY(std::vector<store::BlockRange> ranges, decode_ranges(check.ranges(), store::kReadBlocksMax));
  if (hooks_.check && !ranges.empty()) hooks_.check(piece, std::move(ranges));
  return net::Payload();
}

}  // namespace cairn::chunkserver::data
