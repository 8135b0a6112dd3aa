#include "chunkserver/care/store_door.h"

namespace cairn::chunkserver::care {

Task<Result<std::uint64_t>> PieceStoreDoor::blocks(PieceId piece) {
  const Result<store::PieceStatusAnswer> status = co_await store_.status(piece);
  if (!status.has_value()) co_return fail(status.error());
  co_return status->blocks;
}

Task<Result<std::optional<PieceId>>> PieceStoreDoor::next_piece(std::optional<PieceId> after) {
  return store_.next_piece(after);
}

Task<Result<std::vector<store::BlockRange>>> PieceStoreDoor::stored(PieceId piece,
                                                                    std::uint64_t first,
                                                                    std::uint64_t most) {
  return store_.stored(piece, first, most);
}

Task<Result<store::ReadAnswer>> PieceStoreDoor::read(PieceId piece,
                                                     std::vector<store::BlockRange> ranges) {
  return store_.read(piece, std::move(ranges), true);
}

Task<Status> PieceStoreDoor::heal(PieceId piece, std::vector<store::DamagedBlock> blocks,
                                  Buffer body) {
  return store_.heal(piece, std::move(blocks), std::move(body));
}

}  // namespace cairn::chunkserver::care
