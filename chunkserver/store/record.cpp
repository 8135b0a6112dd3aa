#include "chunkserver/store/record.h"

#include <type_traits>

#include "chunkserver/store/range_codec.h"
#include "chunkserver/store/record_codec.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {
namespace {

enum class Kind : std::uint8_t {
  kPrepare = 1,
  kSettle = 2,
  kSeal = 3,
  kResolve = 4,
  kRemove = 5,
  kFold = 6,
  kHeal = 7,
  // Came later. What names no version, or is of no repair, is as it was.
  kSettleAt = 8,
  kSealCopy = 9,
  kPrepareCopy = 10,
};

void begin(ByteWriter& out, Kind kind, PieceId piece) {
  out.put(kind);
  out.put(piece.chunk.raw());
  out.put(piece.index.raw());
}
PieceId get_piece(ByteReader& in) {
  const auto chunk = in.get<std::uint64_t>();
  const auto index = in.get<std::uint8_t>();
  return {ChunkId::from_raw(chunk), PieceIndex(index)};
}

void put_payload(ByteWriter& out, const Payload& payload) {
  out.put(static_cast<std::uint8_t>(payload.journaled ? 1 : 0));
  put_ranges(out, payload.extents);
  put_numbers(out, payload.crcs);
}
// `blocks`: what it has to bring.
Payload get_payload(ByteReader& in, std::uint64_t blocks) {
  Payload payload;
  const auto flags = in.get<std::uint8_t>();
  if (flags > 1) in.fail();
  payload.journaled = flags == 1;
  payload.extents = get_extents(in);
  payload.crcs = get_numbers<std::uint32_t>(in);
  if (payload.crcs.size() != blocks || total_blocks(payload.extents) != blocks) in.fail();
  return payload;
}

void encode(ByteWriter& out, const PrepareRecord& r) {
  begin(out, r.copy ? Kind::kPrepareCopy : Kind::kPrepare, r.piece);
  out.put(r.version.raw());
  put_op(out, r.op);
  out.put(r.settled_below.raw());
  out.put(r.participants);
  put_facts(out, r.facts);
  put_ranges(out, r.writes);
  put_ranges(out, r.zeroes);
  put_ranges(out, r.deltas);
  put_payload(out, r.payload);
}
PrepareRecord decode_prepare(ByteReader& in, bool copy) {
  PrepareRecord r;
  r.copy = copy;
  r.piece = get_piece(in);
  r.version = ChunkVersion(in.get<std::uint64_t>());
  r.op = get_op(in);
  r.settled_below = OpSeq(in.get<std::uint64_t>());
  r.participants = in.get<std::uint32_t>();
  r.facts = get_facts(in);
  r.writes = get_block_ranges(in);
  r.zeroes = get_block_ranges(in);
  r.deltas = get_block_ranges(in);
  if (!apart(r.writes, r.zeroes) || !apart(r.writes, r.deltas) || !apart(r.zeroes, r.deltas)) {
    in.fail();
  }
  r.payload = get_payload(in, total_blocks(r.writes) + total_blocks(r.deltas));
  return r;
}

void encode(ByteWriter& out, const SettleRecord& r) {
  const bool plain = r.version == ChunkVersion();
  begin(out, plain ? Kind::kSettle : Kind::kSettleAt, r.piece);
  put_op(out, r.below);
  if (!plain) out.put(r.version.raw());
}
SettleRecord decode_settle(ByteReader& in, bool plain) {
  SettleRecord r;
  r.piece = get_piece(in);
  r.below = get_op(in);
  if (plain) return r;
  r.version = ChunkVersion(in.get<std::uint64_t>());
  if (r.version == ChunkVersion()) in.fail();
  return r;
}

void encode(ByteWriter& out, const SealRecord& r) {
  begin(out, r.copy ? Kind::kSealCopy : Kind::kSeal, r.piece);
  out.put(r.version.raw());
  out.put(r.epoch.raw());
}
SealRecord decode_seal(ByteReader& in, bool copy) {
  SealRecord r;
  r.copy = copy;
  r.piece = get_piece(in);
  r.version = ChunkVersion(in.get<std::uint64_t>());
  r.epoch = LeaseEpoch(in.get<std::uint64_t>());
  return r;
}

void encode(ByteWriter& out, const ResolveRecord& r) {
  begin(out, Kind::kResolve, r.piece);
  out.put(r.epoch.raw());
  out.put(static_cast<std::uint32_t>(r.forward.size()));
  for (const OpId op : r.forward) put_op(out, op);
}
ResolveRecord decode_resolve(ByteReader& in) {
  ResolveRecord r;
  r.piece = get_piece(in);
  r.epoch = LeaseEpoch(in.get<std::uint64_t>());
  const std::uint32_t count = in.get_count(16);
  r.forward.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const OpId op = get_op(in);
    if (!r.forward.empty() && op < r.forward.back()) in.fail();
    r.forward.push_back(op);
  }
  return r;
}

void encode(ByteWriter& out, const RemoveRecord& r) { begin(out, Kind::kRemove, r.piece); }

void encode(ByteWriter& out, const FoldRecord& r) {
  begin(out, Kind::kFold, r.piece);
  put_op(out, r.through);
  put_ranges(out, r.blocks);
  put_payload(out, r.payload);
}
FoldRecord decode_fold(ByteReader& in) {
  FoldRecord r;
  r.piece = get_piece(in);
  r.through = get_op(in);
  r.blocks = get_block_ranges(in);
  r.payload = get_payload(in, total_blocks(r.blocks));
  return r;
}

void encode(ByteWriter& out, const HealRecord& r) {
  begin(out, Kind::kHeal, r.piece);
  put_ranges(out, r.blocks);
  put_numbers(out, r.old_homes);
  put_payload(out, r.payload);
}
HealRecord decode_heal(ByteReader& in) {
  HealRecord r;
  r.piece = get_piece(in);
  r.blocks = get_block_ranges(in);
  r.old_homes = get_numbers<std::uint64_t>(in);
  if (r.old_homes.size() != total_blocks(r.blocks)) in.fail();
  r.payload = get_payload(in, total_blocks(r.blocks));
  return r;
}

}  // namespace

void encode_record(ByteWriter& out, const Record& record) {
  std::visit([&](const auto& r) { encode(out, r); }, record);
}

Result<Record> decode_record(std::string_view bytes) {
  ByteReader in(bytes);
  Record record;
  const auto kind = static_cast<Kind>(in.get<std::uint8_t>());
  switch (kind) {
    case Kind::kPrepare:
    case Kind::kPrepareCopy:
      record = decode_prepare(in, kind == Kind::kPrepareCopy);
      break;
    case Kind::kSettle:
    case Kind::kSettleAt:
      record = decode_settle(in, kind == Kind::kSettle);
      break;
    case Kind::kSeal:
    case Kind::kSealCopy:
      record = decode_seal(in, kind == Kind::kSealCopy);
      break;
    case Kind::kResolve:
      record = decode_resolve(in);
      break;
    case Kind::kRemove:
      record = RemoveRecord{get_piece(in)};
      break;
    case Kind::kFold:
      record = decode_fold(in);
      break;
    case Kind::kHeal:
      record = decode_heal(in);
      break;
    default:
      return fail(Code::kCorrupt, "journal record of an unknown kind");
  }
  if (!in.finished()) return fail(Code::kCorrupt, "journal record that contradicts itself");
  return record;
}

PieceId piece_of(const Record& record) {
  return std::visit([](const auto& r) { return r.piece; }, record);
}

const Payload* payload_of(const Record& record) {
  return std::visit(
      [](const auto& r) -> const Payload* {
        if constexpr (requires { r.payload; }) {
          return r.payload.crcs.empty() ? nullptr : &r.payload;
        } else {
          return nullptr;
        }
      },
      record);
}

std::uint64_t journaled_blocks(const Record& record) {
  const Payload* const payload = payload_of(record);
  return payload != nullptr && payload->journaled ? payload->crcs.size() : 0;
}

std::uint32_t content_digest(const std::vector<BlockRange>& writes,
                             const std::vector<BlockRange>& zeroes,
                             const std::vector<BlockRange>& deltas,
                             const std::vector<std::uint32_t>& crcs) {
  // With the lengths: a range that went from one list to the next is another content.
  const std::uint64_t lengths[] = {writes.size(), zeroes.size(), deltas.size(), crcs.size()};
  std::uint32_t digest = crc32c(std::as_bytes(std::span(lengths)));
  digest = crc32c(std::as_bytes(std::span(writes)), digest);
  digest = crc32c(std::as_bytes(std::span(zeroes)), digest);
  digest = crc32c(std::as_bytes(std::span(deltas)), digest);
  return crc32c(std::as_bytes(std::span(crcs)), digest);
}

std::size_t encoded_size(const Record& record) {
  // Fixed fields and length fields of the largest kind, then its lists.
  std::size_t size = 160;
  if (const Payload* const payload = payload_of(record)) {
    size += 12 * payload->extents.size() + 4 * payload->crcs.size();
  }
  if (const auto* const r = std::get_if<PrepareRecord>(&record)) {
    size += 12 * (r->writes.size() + r->zeroes.size() + r->deltas.size());
  } else if (const auto* const resolve = std::get_if<ResolveRecord>(&record)) {
    size += 16 * resolve->forward.size();
  } else if (const auto* const fold = std::get_if<FoldRecord>(&record)) {
    size += 12 * fold->blocks.size();
  } else if (const auto* const heal = std::get_if<HealRecord>(&record)) {
    size += 12 * heal->blocks.size() + 8 * heal->old_homes.size();
  }
  return size;
}

}  // namespace cairn::chunkserver::store
