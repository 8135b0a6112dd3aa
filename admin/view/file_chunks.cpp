#include "admin/view/file_chunks.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "admin/view/attributes.h"
#include "admin/view/conversion_text.h"
#include "admin/view/table.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 8> kTypes = {"unknown",          "regular file", "directory",
                                                    "symbolic link",    "fifo",         "socket",
                                                    "character device", "block device"};
constexpr std::array<std::string_view, 3> kPieceStates = {"unwritten", "current", "missing"};

template <std::size_t N>
std::string_view name_of(const std::array<std::string_view, N>& names, int value) {
  const auto index = static_cast<std::size_t>(value);
  return value >= 0 && index < N ? names[index] : "unknown";
}

std::string chunk_state(const pb::InfoReply& reply, int index) {
  return index < reply.chunk_states_size() ? reply.chunk_states(index) : std::string("unknown");
}

std::uint64_t chunk_offset(const pb::Chunk& chunk) {
  return chunk.index() * chunk.encoding().data() * chunk.piece_bytes();
}

std::string_view piece_kind(const pb::Chunk& chunk, const pb::Piece& piece) {
  if (chunk.encoding().data() == 1) return "replica";
  return piece.index() < chunk.encoding().data() ? "data" : "parity";
}

std::string piece_table(const pb::Chunk& chunk) {
  Table table({"  PIECE", "KIND", "CSID", "STATE", "ADDRESS"});
  for (const pb::Piece& piece : chunk.pieces()) {
    table.add({"  " + std::to_string(piece.index()), std::string(piece_kind(chunk, piece)),
               piece.cs_id() == 0 ? "none" : std::to_string(piece.cs_id()),
               std::string(name_of(kPieceStates, piece.state())),
               piece.address().empty() ? "-" : piece.address()});
  }
  return table.to_string();
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : ", ") + line;
  return text;
}

}  // namespace

std::string file_chunks_text(const pb::InfoReply& reply, const std::string& file) {
  const pb::Attributes& attributes = reply.attributes();
  std::string text = fmt::format("File: '{}'\n", file);
  text += fmt::format("Inode: {}, {}, mode {:04o}, owner {}:{}, {} links\n", attributes.inode(),
                      name_of(kTypes, attributes.type()), attributes.mode(), attributes.uid(),
                      attributes.gid(), attributes.nlink());
  text += fmt::format("Size: {} bytes ({}), {} chunks\n", attributes.size(),
                      format_size(attributes.size()), reply.chunks_size());
  text += "Policy: " + joined(attribute_lines(reply.policy())) + "\n";
  if (reply.has_layout()) {
    text += fmt::format(
        "Stored: {}, cell {}, piece {}\n", encoding_attribute(reply.layout().encoding()),
        format_size(reply.layout().cell_bytes()), format_size(reply.layout().piece_bytes()));
  }
  if (reply.has_conversion()) text += file_conversion_line(reply.conversion());
  if (!reply.lease().empty()) text += "Lease: " + reply.lease() + "\n";
  for (int i = 0; i < reply.chunks_size(); ++i) {
    const pb::Chunk& chunk = reply.chunks(i);
    text += fmt::format("\nChunk {}: index {}, offset {}, version {}, {}{}\n", chunk.id(),
                        chunk.index(), chunk_offset(chunk), chunk.version(), chunk_state(reply, i),
                        chunk.writer_epoch() == 0
                            ? std::string()
                            : fmt::format(", open for writing (epoch {})", chunk.writer_epoch()));
    text += piece_table(chunk);
  }
  return text;
}

std::string file_chunks_json(const pb::InfoReply& reply, const std::string& file) {
  const pb::Attributes& attributes = reply.attributes();
  Json json = {{"schema", 1},
               {"file", file},
               {"inode", attributes.inode()},
               {"type", name_of(kTypes, attributes.type())},
               {"mode", attributes.mode()},
               {"uid", attributes.uid()},
               {"gid", attributes.gid()},
               {"nlink", attributes.nlink()},
               {"size", attributes.size()},
               {"policy", attribute_lines(reply.policy())},
               {"lease", reply.lease()},
               {"chunks", Json::array()}};
  if (reply.has_layout()) {
    json["stored"] = {{"encoding", encoding_attribute(reply.layout().encoding())},
                      {"cell_bytes", reply.layout().cell_bytes()},
                      {"piece_bytes", reply.layout().piece_bytes()}};
  }
  if (reply.has_conversion()) {
    const pb::ConversionStat::File& conversion = reply.conversion();
    json["conversion"] = {{"to", encoding_attribute(conversion.to())},
                          {"bytes_done", conversion.bytes_done()},
                          {"bytes_total", conversion.bytes_total()},
                          {"worker", conversion.worker()},
                          {"trouble", conversion.trouble()}};
  }
  for (int i = 0; i < reply.chunks_size(); ++i) {
    const pb::Chunk& chunk = reply.chunks(i);
    Json pieces = Json::array();
    for (const pb::Piece& piece : chunk.pieces()) {
      pieces.push_back({{"index", piece.index()},
                        {"kind", piece_kind(chunk, piece)},
                        {"cs", piece.cs_id()},
                        {"state", name_of(kPieceStates, piece.state())},
                        {"address", piece.address()}});
    }
    json["chunks"].push_back({{"id", chunk.id()},
                              {"index", chunk.index()},
                              {"offset", chunk_offset(chunk)},
                              {"version", chunk.version()},
                              {"state", chunk_state(reply, i)},
                              {"writer_epoch", chunk.writer_epoch()},
                              {"pieces", std::move(pieces)}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cairn::admin
