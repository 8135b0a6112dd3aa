#include "chunkserver/store/record.h"

#include <algorithm>

#include "chunkserver/store/byte_codec.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint32_t kBatchMagic = 0x4a435343;  // "CSCJ"
constexpr std::size_t kCrcAt = 8;

enum class Kind : std::uint8_t { kPrepare = 1, kSettle = 2, kSeal = 3, kResolve = 4, kRemove = 5 };

// Header layout: 0 magic u32, 4 format u16, 6 zero u16, 8 crc u32, 12 previous crc u32, 16 sequence
// u64, 24 salt u64, 32 payload bytes u64, 40 records u32, 44 zeros to 64.

void put_piece(ByteWriter& out, PieceId piece) {
  out.put(piece.chunk.raw());
  out.put(piece.index.raw());
}
PieceId get_piece(ByteReader& in) {
  const auto chunk = in.get<std::uint64_t>();
  const auto index = in.get<std::uint8_t>();
  return {ChunkId::from_raw(chunk), PieceIndex(index)};
}
void put_op(ByteWriter& out, OpId op) {
  out.put(op.epoch.raw());
  out.put(op.seq.raw());
}
OpId get_op(ByteReader& in) {
  const auto epoch = in.get<std::uint64_t>();
  const auto seq = in.get<std::uint64_t>();
  return {LeaseEpoch(epoch), OpSeq(seq)};
}

template <class Range>
void put_ranges(ByteWriter& out, const std::vector<Range>& ranges) {
  out.put(static_cast<std::uint32_t>(ranges.size()));
  for (const Range& range : ranges) {
    out.put(range.first);
    out.put(static_cast<std::uint32_t>(range.count));
  }
}
template <class Range>
std::vector<Range> get_ranges(ByteReader& in) {
  std::vector<Range> ranges;
  const std::uint32_t count = in.get_count(12);
  ranges.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto first = in.get<std::uint64_t>();
    const auto blocks = in.get<std::uint32_t>();
    if (blocks == 0 || first + blocks < first) in.fail();
    ranges.push_back({first, blocks});
  }
  return ranges;
}

void encode(ByteWriter& out, const PrepareRecord& r) {
  out.put(Kind::kPrepare);
  put_piece(out, r.piece);
  out.put(r.version.raw());
  put_op(out, r.op);
  out.put(r.settled_below.raw());
  out.put(r.participants);
  out.put(r.facts.generator);
  out.put(r.facts.data);
  out.put(r.facts.parity);
  out.put(r.facts.cell_bytes);
  out.put(r.facts.inode);
  out.put(r.facts.chunk_index);
  put_ranges(out, r.writes);
  put_ranges(out, r.zeroes);
  put_ranges(out, r.extents);
  out.put(static_cast<std::uint32_t>(r.crcs.size()));
  for (const std::uint32_t crc : r.crcs) out.put(crc);
}
PrepareRecord decode_prepare(ByteReader& in) {
  PrepareRecord r;
  r.piece = get_piece(in);
  r.version = ChunkVersion(in.get<std::uint64_t>());
  r.op = get_op(in);
  r.settled_below = OpSeq(in.get<std::uint64_t>());
  r.participants = in.get<std::uint32_t>();
  r.facts.generator = in.get<std::uint32_t>();
  r.facts.data = in.get<std::uint32_t>();
  r.facts.parity = in.get<std::uint32_t>();
  r.facts.cell_bytes = in.get<std::uint32_t>();
  r.facts.inode = in.get<std::uint64_t>();
  r.facts.chunk_index = in.get<std::uint64_t>();
  r.writes = get_ranges<BlockRange>(in);
  r.zeroes = get_ranges<BlockRange>(in);
  r.extents = get_ranges<Extent>(in);
  const std::uint32_t crcs = in.get_count(4);
  r.crcs.reserve(crcs);
  for (std::uint32_t i = 0; i < crcs; ++i) r.crcs.push_back(in.get<std::uint32_t>());
  if (total_blocks(r.writes) != crcs || total_blocks(r.extents) != crcs) in.fail();
  return r;
}

void encode(ByteWriter& out, const SettleRecord& r) {
  out.put(Kind::kSettle);
  put_piece(out, r.piece);
  put_op(out, r.below);
}
void encode(ByteWriter& out, const SealRecord& r) {
  out.put(Kind::kSeal);
  put_piece(out, r.piece);
  out.put(r.version.raw());
  out.put(r.epoch.raw());
}
void encode(ByteWriter& out, const ResolveRecord& r) {
  out.put(Kind::kResolve);
  put_piece(out, r.piece);
  out.put(r.epoch.raw());
  out.put(static_cast<std::uint32_t>(r.forward.size()));
  for (const OpId op : r.forward) put_op(out, op);
}
void encode(ByteWriter& out, const RemoveRecord& r) {
  out.put(Kind::kRemove);
  put_piece(out, r.piece);
}

ResolveRecord decode_resolve(ByteReader& in) {
  ResolveRecord r;
  r.piece = get_piece(in);
  r.epoch = LeaseEpoch(in.get<std::uint64_t>());
  const std::uint32_t count = in.get_count(16);
  r.forward.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) r.forward.push_back(get_op(in));
  return r;
}

Result<Record> decode_record(std::string_view bytes) {
  ByteReader in(bytes);
  Record record;
  const auto kind = static_cast<Kind>(in.get<std::uint8_t>());
  switch (kind) {
    case Kind::kPrepare:
      record = decode_prepare(in);
      break;
    case Kind::kSettle: {
      const PieceId piece = get_piece(in);
      record = SettleRecord{piece, get_op(in)};
      break;
    }
    case Kind::kSeal: {
      SealRecord seal;
      seal.piece = get_piece(in);
      seal.version = ChunkVersion(in.get<std::uint64_t>());
      seal.epoch = LeaseEpoch(in.get<std::uint64_t>());
      record = seal;
      break;
    }
    case Kind::kResolve:
      record = decode_resolve(in);
      break;
    case Kind::kRemove:
      record = RemoveRecord{get_piece(in)};
      break;
    default:
      return fail(Code::kCorrupt, "journal record of an unknown kind");
  }
  if (!in.finished()) return fail(Code::kCorrupt, "journal record of a wrong length");
  return record;
}

std::uint32_t batch_crc(Bytes bytes, std::size_t payload) {
  const std::byte zero[4] = {};
  std::uint32_t crc = crc32c(bytes.first(kCrcAt));
  crc = crc32c(zero, crc);
  return crc32c(bytes.subspan(kCrcAt + 4, kBatchHeaderBytes + payload - kCrcAt - 4), crc);
}

}  // namespace

PieceId piece_of(const Record& record) {
  return std::visit([](const auto& r) { return r.piece; }, record);
}

std::uint32_t content_digest(const std::vector<BlockRange>& writes,
                             const std::vector<BlockRange>& zeroes,
                             const std::vector<std::uint32_t>& crcs) {
  std::uint32_t digest = crc32c(std::as_bytes(std::span(writes)));
  digest = crc32c(std::as_bytes(std::span(zeroes)), digest);
  return crc32c(std::as_bytes(std::span(crcs)), digest);
}

std::size_t encoded_size(const Record& record) {
  // The exact size of the one large kind, an upper bound for the others.
  if (const auto* r = std::get_if<PrepareRecord>(&record)) {
    return 128 + 12 * (r->writes.size() + r->zeroes.size() + r->extents.size()) +
           4 * r->crcs.size();
  }
  if (const auto* r = std::get_if<ResolveRecord>(&record)) return 64 + 16 * r->forward.size();
  return 64;
}

EncodedBatch encode_batch(std::uint64_t salt, const JournalPosition& previous,
                          const std::vector<const Record*>& records) {
  ByteWriter payload;
  for (const Record* record : records) {
    ByteWriter one;
    std::visit([&](const auto& r) { encode(one, r); }, *record);
    CHECK_LE(one.size(), encoded_size(*record));
    payload.put(static_cast<std::uint32_t>(one.size()));
    payload.append(one.take());
  }
  ByteWriter head;
  head.put(kBatchMagic);
  head.put(kJournalFormat);
  head.put(std::uint16_t{0});
  head.put(std::uint32_t{0});
  head.put(previous.crc);
  head.put(previous.sequence + 1);
  head.put(salt);
  head.put(std::uint64_t{payload.size()});
  head.put(static_cast<std::uint32_t>(records.size()));
  const std::size_t payload_bytes = payload.size();
  const std::string head_bytes = head.take();
  CHECK_LE(head_bytes.size(), kBatchHeaderBytes);
  EncodedBatch batch;
  batch.bytes = Buffer::zeroed(align_up(kBatchHeaderBytes + payload_bytes, kBlockBytes));
  std::memcpy(batch.bytes.data(), head_bytes.data(), head_bytes.size());
  const std::string payload_text = payload.take();
  std::memcpy(batch.bytes.data() + kBatchHeaderBytes, payload_text.data(), payload_text.size());
  const Buffer& bytes = batch.bytes;
  batch.crc = batch_crc(bytes.span(), payload_bytes);
  store_le(batch.bytes.data() + kCrcAt, batch.crc);
  return batch;
}

Result<BatchHead> decode_head(Bytes bytes, std::uint64_t salt) {
  if (bytes.size() < kBatchHeaderBytes) return fail(Code::kCorrupt, "no room for a batch");
  ByteReader in(as_text(bytes.first(kBatchHeaderBytes)));
  if (in.get<std::uint32_t>() != kBatchMagic) return fail(Code::kCorrupt, "no batch begins here");
  if (in.get<std::uint16_t>() != kJournalFormat) {
    return fail(Code::kCorrupt, "a batch of another format");
  }
  in.get<std::uint16_t>();
  BatchHead head;
  head.crc = in.get<std::uint32_t>();
  head.previous_crc = in.get<std::uint32_t>();
  head.sequence = in.get<std::uint64_t>();
  if (in.get<std::uint64_t>() != salt) return fail(Code::kCorrupt, "a batch of another journal");
  head.payload_bytes = in.get<std::uint64_t>();
  head.records = in.get<std::uint32_t>();
  if (head.payload_bytes > (1ULL << 40)) return fail(Code::kCorrupt, "a batch of impossible size");
  return head;
}

Result<Batch> decode_batch(Bytes bytes, std::uint64_t salt) {
  TRY(const BatchHead head, decode_head(bytes, salt));
  if (head.payload_bytes > bytes.size() - kBatchHeaderBytes) {
    return fail(Code::kCorrupt, "a batch that does not end");
  }
  if (batch_crc(bytes, head.payload_bytes) != head.crc) {
    return fail(Code::kCorrupt, "the checksum of a batch is wrong");
  }
  Batch batch;
  batch.sequence = head.sequence;
  batch.previous_crc = head.previous_crc;
  batch.crc = head.crc;
  batch.blocks = head.blocks();
  ByteReader in(as_text(bytes.subspan(kBatchHeaderBytes, head.payload_bytes)));
  for (std::uint32_t i = 0; i < head.records; ++i) {
    const auto length = in.get<std::uint32_t>();
    const std::string_view one = in.get_bytes(length);
    if (!in.ok()) return fail(Code::kCorrupt, "a batch with a record that does not end");
    TRY(Record record, decode_record(one));
    batch.records.push_back(std::move(record));
  }
  if (!in.finished()) return fail(Code::kCorrupt, "bytes after the last record of a batch");
  return batch;
}

}  // namespace cairn::chunkserver::store
