#include "mds/state/conversions.h"

#include <algorithm>

#include "common/base/units.h"
#include "mds/state/chunks.h"
#include "mds/state/inodes.h"

namespace cairn::mds::state {
namespace {

// How many chunks the data will have at most. New chunks are as big as the pieces of the old layout
// make them: the shape of chunks is the cluster's, it hardly changes.
std::uint64_t chunks_after(const pb::InodeRecord& file, const pb::Encoding& to) {
  pb::Layout after = file.layout();
  *after.mutable_encoding() = to;
  const std::uint64_t before_bytes = chunk_bytes(file.layout());
  const std::uint64_t after_bytes = chunk_bytes(after);
  // Those that the size has room for; and holes stay holes.
  const std::uint64_t room = div_ceil(file.attributes().size(), after_bytes);
  const std::uint64_t touched = file.chunk_count() * (div_ceil(before_bytes, after_bytes) + 1);
  return std::min(room, touched);
}

}  // namespace

Status check_convertible(const pb::InodeRecord& file, const pb::Encoding& to) {
  if (!file.has_layout()) return {};
  // In this order: the product of chunks_after() is small once the first holds.
  std::uint64_t chunks = file.chunk_count();
  if (chunks <= kSwapChunksMax) chunks = std::max(chunks, chunks_after(file, to));
  if (chunks <= kSwapChunksMax) return {};
  return fail(Code::kTooBig, "inode " + std::to_string(id_of(file).raw()) + " has or would have " +
                                 std::to_string(chunks) +
                                 " chunks: the data of a file with more than " +
                                 std::to_string(kSwapChunksMax) + " cannot be exchanged at once");
}

Result<pb::ConversionRecord> load_conversion(Tables& tables, InodeId id) {
  TRY(std::optional<pb::ConversionRecord> row,
      tables.find<pb::ConversionRecord>(keys::conversion(id)));
  if (!row) {
    return fail(Code::kNotFound, "inode " + std::to_string(id.raw()) + " is not to be converted");
  }
  return std::move(*row);
}

Status drop_conversion(Tables& tables, InodeId id) {
  std::string key = keys::conversion(id);
  TRY(const std::optional<std::string> row, tables.get(key));
  if (row) tables.erase(std::move(key));
  return {};
}

}  // namespace cairn::mds::state
