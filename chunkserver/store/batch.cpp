// The batch around journal records: header, checksum, chain.
#include "chunkserver/store/record.h"
#include "chunkserver/store/record_codec.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint32_t kBatchMagic = 0x4a435343;  // "CSCJ"
constexpr std::size_t kCrcAt = 8;
// No ring is larger than this, in bytes or in blocks; keeps sums of lengths from running over.
constexpr std::uint64_t kImpossible = 1ULL << 40;

// Header layout: 0 magic u32, 4 format u16, 6 zero u16, 8 crc u32, 12 previous crc u32, 16 sequence
// u64, 24 ring u64, 32 payload bytes u64, 40 records u32, 44 zero u32, 48 data blocks u64, 56 zeros
// to 64.

std::uint32_t batch_crc(Bytes bytes, std::uint64_t payload) {
  const std::byte zero[4] = {};
  std::uint32_t crc = crc32c(bytes.first(kCrcAt));
  crc = crc32c(zero, crc);
  return crc32c(bytes.subspan(kCrcAt + 4, kBatchHeaderBytes + payload - kCrcAt - 4), crc);
}

}  // namespace

EncodedBatch encode_batch(std::uint64_t ring, const JournalPosition& previous,
                          std::span<const Record* const> records, ByteCount bytes) {
  EncodedBatch batch;
  ByteWriter out;
  out.reserve(kBatchHeaderBytes + bytes);
  out.skip(kBatchHeaderBytes);
  for (const Record* record : records) {
    const std::size_t length_at = out.size();
    out.put(std::uint32_t{0});
    encode_record(out, *record);
    const std::size_t length = out.size() - length_at - sizeof(std::uint32_t);
    DCHECK(length <= encoded_size(*record));
    out.put_at(length_at, static_cast<std::uint32_t>(length));
    batch.data_blocks += journaled_blocks(*record);
  }
  const std::size_t payload = out.size() - kBatchHeaderBytes;
  ByteWriter head;
  head.put(kBatchMagic);
  head.put(kJournalFormat);
  head.put(std::uint16_t{0});
  head.put(std::uint32_t{0});
  head.put(previous.crc);
  head.put(previous.sequence + 1);
  head.put(ring);
  head.put(std::uint64_t{payload});
  head.put(static_cast<std::uint32_t>(records.size()));
  head.put(std::uint32_t{0});
  head.put(batch.data_blocks);
  const std::string head_bytes = head.take();
  CHECK_LE(head_bytes.size(), kBatchHeaderBytes);
  const std::string all = out.take();
  batch.bytes = Buffer::allocate(align_up(all.size(), kBlockBytes));
  std::memcpy(batch.bytes.data(), all.data(), all.size());
  std::memcpy(batch.bytes.data(), head_bytes.data(), head_bytes.size());
  std::memset(batch.bytes.data() + all.size(), 0, batch.bytes.size() - all.size());
  batch.crc = batch_crc(std::as_const(batch.bytes).span(), payload);
  store_le(batch.bytes.data() + kCrcAt, batch.crc);
  return batch;
}

Result<BatchHead> decode_head(Bytes bytes, std::uint64_t ring) {
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
  if (in.get<std::uint64_t>() != ring) return fail(Code::kCorrupt, "a batch of another ring");
  head.payload_bytes = in.get<std::uint64_t>();
  head.records = in.get<std::uint32_t>();
  in.get<std::uint32_t>();
  head.data_blocks = in.get<std::uint64_t>();
  if (head.payload_bytes > kImpossible || head.data_blocks > kImpossible) {
    return fail(Code::kCorrupt, "a batch of impossible size");
  }
  return head;
}

Result<Batch> decode_batch(Bytes bytes, std::uint64_t ring) {
  TRY(const BatchHead head, decode_head(bytes, ring));
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
  batch.data_blocks = head.data_blocks;
  ByteReader in(as_text(bytes.subspan(kBatchHeaderBytes, head.payload_bytes)));
  std::uint64_t data_blocks = 0;
  for (std::uint32_t i = 0; i < head.records; ++i) {
    const auto length = in.get<std::uint32_t>();
    const std::string_view one = in.get_bytes(length);
    if (!in.ok()) return fail(Code::kCorrupt, "a batch with a record that does not end");
    TRY(Record record, decode_record(one));
    data_blocks += journaled_blocks(record);
    batch.records.push_back(std::move(record));
  }
  if (!in.finished()) return fail(Code::kCorrupt, "bytes after the last record of a batch");
  if (data_blocks != head.data_blocks) {
    return fail(Code::kCorrupt, "a batch with other blocks than its records bring");
  }
  return batch;
}

}  // namespace cairn::chunkserver::store
