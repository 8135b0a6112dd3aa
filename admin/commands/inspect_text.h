// What `cairn inspect` prints: the facts of a repository as text or JSON. Values in, text out.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "chunkserver/inspect/inspection.h"

namespace cairn::admin {

// "CHUNK.PIECE".
std::string piece_name(PieceId piece);
// Error: kInvalidArgument.
Result<PieceId> parse_piece_name(const std::string& text);

// [0, 3] of 0b1001.
nlohmann::ordered_json pieces_json(std::uint32_t mask);

nlohmann::ordered_json summary_json(const chunkserver::inspect::Summary& summary);
std::string summary_text(const chunkserver::inspect::Summary& summary);
nlohmann::ordered_json piece_json(PieceId piece, const chunkserver::store::PieceRow& row);
// One line.
std::string piece_text(PieceId piece, const chunkserver::store::PieceRow& row);
inline constexpr const char* kPieceTitle =
    "CHUNK.PIECE              INODE      INDEX  CODE     BLOCKS  VERSION    EPOCH  OPS\n";
// The ops that are not settled, a line each.
std::string ops_text(const chunkserver::store::PieceRow& row);
// Where it lies, and `missing`: why it cannot be had, if so. A line.
std::string block_text(const chunkserver::store::LocatedBlock& block, const std::string& missing);
nlohmann::ordered_json block_json(const chunkserver::store::LocatedBlock& block,
                                  const std::string& missing);
nlohmann::ordered_json batch_json(const chunkserver::store::Batch& batch);
// A line for the batch, and one for each record.
std::string batch_text(const chunkserver::store::Batch& batch);

// "3, 7-9"; the first few.
std::string ranges_text(const std::vector<chunkserver::store::BlockRange>& ranges);
nlohmann::ordered_json ranges_json(const std::vector<chunkserver::store::BlockRange>& ranges);

}  // namespace cairn::admin
