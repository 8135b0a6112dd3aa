// The moment of a conversion: a file and its shadow exchange their data.
//
// What is checked here is all that the tables can know: nobody writes either of them, the shadow's
// data is as safe as its encoding promises, has the wanted encoding and the size of the file. That
// its bytes are those of the file is the word of the caller, who holds the file exclusively.
//
// The new pieces may have seen a newer epoch (of the shadow's lease) than the one of the caller's
// lease. Nothing needs that to be otherwise: a piece becomes missing, and is repaired, only under
// an epoch that was granted later, and a caller that writes on under its lease is refused by them.
#include <utility>

#include "mds/state/chunks.h"
#include "mds/state/conversions.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

std::string number(std::uint64_t n) { return std::to_string(n); }

// The encoding that the data of a file has, or would have.
const pb::Encoding& encoding_of(const pb::InodeRecord& file) {
  return file.has_layout() ? file.layout().encoding() : file.policy().encoding();
}

Status check_pair(const pb::InodeRecord& source, const pb::InodeRecord& shadow,
                  const pb::Encoding& wanted) {
  const std::string name = "inode " + number(id_of(shadow).raw());
  if (shadow.shadow_of() != id_of(source).raw()) {
    return fail(Code::kInvalidArgument,
                name + " is no shadow of inode " + number(id_of(source).raw()));
  }
  if (!same_encoding(encoding_of(shadow), wanted)) {
    return fail(Code::kInvalidArgument, name + " has not the encoding that inode " +
                                            number(id_of(source).raw()) +
                                            " is to be converted into");
  }
  if (shadow.attributes().size() != source.attributes().size()) {
    return fail(Code::kInvalidArgument, name + " has " + number(shadow.attributes().size()) +
                                            " bytes, not " + number(source.attributes().size()));
  }
  if (shadow.lease_session() != 0) {
    return fail(Code::kBusy,
                "session " + number(shadow.lease_session()) + " holds " + name + " exclusively");
  }
  // What lies past the size of the source stays in its old chunks, so it does not matter there.
  if (shadow.trim_pending()) {
    return fail(Code::kBusy, name + " may hold stale bytes past its size: trim it first");
  }
  for (const pb::InodeRecord* file : {&source, &shadow}) {
    if (file->chunk_count() <= kSwapChunksMax) continue;
    return fail(Code::kTooBig, "inode " + number(id_of(*file).raw()) + " has " +
                                   number(file->chunk_count()) + " chunks, more than the " +
                                   number(kSwapChunksMax) + " that can be exchanged at once");
  }
  return {};
}

Status check_settled(Tables& tables, InodeId id) {
  TRY(const bool open, has_open_chunks(tables, id));
  if (!open) return {};
  return fail(Code::kBusy, "chunks of inode " + number(id.raw()) + " are open");
}

Status check_whole(Tables& tables, InodeId id) {
  TRY(const Tables::Rows rows,
      tables.scan(Tables::Range{.prefix = keys::of_inode(keys::Table::kChunkAt, id)}));
  for (const auto& [key, value] : rows) {
    const std::optional<std::uint64_t> chunk = keys::decode_number(value);
    if (!chunk) return tables.corrupt(keys::Table::kChunkAt);
    TRY(const std::optional<std::string> degraded,
        tables.get(keys::degraded(ChunkId::from_raw(*chunk))));
    if (!degraded) continue;
    return fail(Code::kBusy, "a piece of chunk " + number(*chunk) + " of inode " +
                                 number(id.raw()) + " is missing: it must be repaired first");
  }
  return {};
}

// What the inodes tell of their data. Sizes are equal, so the limits of `blocks` hold in both.
void exchange_data(pb::InodeRecord& source, pb::InodeRecord& shadow) {
  const bool laid_out = shadow.has_layout();
  source.mutable_layout()->Swap(shadow.mutable_layout());
  if (!laid_out) source.clear_layout();
  const std::uint64_t chunks = source.chunk_count();
  source.set_chunk_count(shadow.chunk_count());
  shadow.set_chunk_count(chunks);
  const std::uint64_t blocks = source.attributes().blocks();
  source.mutable_attributes()->set_blocks(shadow.attributes().blocks());
  shadow.mutable_attributes()->set_blocks(blocks);
  shadow.set_trim_pending(source.trim_pending());
  source.set_trim_pending(false);
}

}  // namespace

Status swap_data(Tables& tables, Caller caller, const pb::SwapData& op, pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  const InodeId shadow_id = InodeId::from_raw(op.shadow());
  TRY(pb::InodeRecord source, load_leased(tables, {caller.session, id, op.epoch()}));
  TRY(pb::InodeRecord shadow, load_regular(tables, shadow_id));
  TRY(const pb::ConversionRecord row, load_conversion(tables, id));
  TRY_VOID(check_pair(source, shadow, row.encoding()));
  TRY_VOID(check_settled(tables, id));
  TRY_VOID(check_settled(tables, shadow_id));
  TRY_VOID(check_whole(tables, shadow_id));

  TRY_VOID(exchange_chunks(tables, id, shadow_id));
  exchange_data(source, shadow);
  *source.mutable_policy()->mutable_encoding() = row.encoding();
  // It has the old data now. Should the file be converted back one day, this is no copy of it.
  shadow.clear_shadow_of();
  store_inode(tables, source);
  store_inode(tables, shadow);
  TRY_VOID(drop_conversion(tables, id));
  *reply.mutable_attributes() = source.attributes();
  return {};
}

}  // namespace cairn::mds::state::ops
