#include "admin/commands/inspect_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "admin/view/units.h"
#include "common/base/limits.h"

namespace cairn::admin {
namespace {

namespace inspect = chunkserver::inspect;
namespace store = chunkserver::store;
using Json = nlohmann::ordered_json;

std::string ring_text(const store::RingPlace& ring) {
  const std::string size = format_size(ring.blocks * kBlockBytes);
  const char* const use = ring.journal ? "small writes and records" : "records only";
  if (ring.external()) {
    return fmt::format("{} in {}/{}, {}", size, ring.directory, store::kRingFileName, use);
  }
  return fmt::format("{} in the data file at block {}, {}", size, ring.first, use);
}

std::string code_text(const store::PieceFacts& facts) {
  if (facts.data <= 1) return "replica";
  return fmt::format("{}+{}", facts.data, facts.parity);
}

std::string op_text(store::OpId op) { return fmt::format("{}.{}", op.epoch.raw(), op.seq.raw()); }

std::string payload_text(const store::Payload& payload) {
  return fmt::format("{} blocks, {}", payload.crcs.size(),
                     payload.journaled ? "journaled" : "direct");
}

struct RecordText {
  std::string operator()(const store::PrepareRecord& r) const {
    return fmt::format("prepare {}v{} op {} settled below {}: writes {}, zeroes {}, deltas {}; {}",
                       r.copy ? "copy " : "", r.version.raw(), op_text(r.op), r.settled_below.raw(),
                       store::total_blocks(r.writes), store::total_blocks(r.zeroes),
                       store::total_blocks(r.deltas), payload_text(r.payload));
  }
  std::string operator()(const store::SettleRecord& r) const {
    const bool plain = r.version == ChunkVersion();
    return (plain ? "settle" : fmt::format("settle v{}", r.version.raw())) + " below " +
           op_text(r.below);
  }
  std::string operator()(const store::SealRecord& r) const {
    return fmt::format("seal {}v{} epoch {}", r.copy ? "copy " : "", r.version.raw(),
                       r.epoch.raw());
  }
  std::string operator()(const store::ResolveRecord& r) const {
    return fmt::format("resolve epoch {}, {} ops forward", r.epoch.raw(), r.forward.size());
  }
  std::string operator()(const store::RemoveRecord&) const { return "remove"; }
  std::string operator()(const store::FoldRecord& r) const {
    return fmt::format("fold through {}; {}", op_text(r.through), payload_text(r.payload));
  }
  std::string operator()(const store::HealRecord& r) const {
    return "heal; " + payload_text(r.payload);
  }
};

std::uint64_t undecided(const store::PieceRow& row) {
  return static_cast<std::uint64_t>(
      std::count_if(row.pending.begin(), row.pending.end(),
                    [](const store::PendingOp& op) { return !op.decided; }));
}

}  // namespace

Json pieces_json(std::uint32_t mask) {
  Json pieces = Json::array();
  for (unsigned i = 0; i < 32; ++i) {
    if ((mask >> i & 1U) != 0) pieces.push_back(i);
  }
  return pieces;
}

std::string piece_name(PieceId piece) {
  return fmt::format("{}.{}", piece.chunk.raw(), piece.index.raw());
}

Result<PieceId> parse_piece_name(const std::string& text) {
  std::uint64_t chunk = 0;
  unsigned index = 0;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, chunk);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == '.') {
    const auto second = std::from_chars(first.ptr + 1, end, index);
    if (second.ec == std::errc() && second.ptr == end && chunk != 0 &&
        index < limits::kPiecesPerChunkMax) {
      return PieceId{ChunkId::from_raw(chunk), PieceIndex(static_cast<std::uint8_t>(index))};
    }
  }
  return fail(Code::kInvalidArgument, "'" + text + "' is not CHUNK.PIECE, as in 4711.2");
}

Json summary_json(const inspect::Summary& s) {
  Json json{{"directory", s.repository},
            {"cluster", s.identity.cluster},
            {"cs", s.identity.cs_id.raw()},
            {"pieces", s.counters.pieces},
            {"used_bytes", s.counters.used_blocks * kBlockBytes},
            {"data_bytes", s.data_bytes},
            {"without_journal", s.without_journal}};
  Json journal{{"applied", s.position.applied.sequence}, {"tail", s.position.tail.sequence}};
  if (s.superblock.has_value()) {
    const store::RingPlace& ring = s.superblock->ring;
    json["generation"] = s.superblock->generation;
    journal["directory"] = ring.directory;
    journal["bytes"] = ring.blocks * kBlockBytes;
    journal["small_writes"] = ring.journal;
  }
  if (!s.without_journal) {
    journal["batches_to_apply"] = s.batches;
    journal["unfinished_ops"] = s.dropped;
    journal["bytes_only_here"] = s.homeless * kBlockBytes;
  }
  json["journal"] = std::move(journal);
  return json;
}

std::string summary_text(const inspect::Summary& s) {
  std::string text = fmt::format("CS {} of cluster '{}', {}\n", s.identity.cs_id.raw(),
                                 s.identity.cluster, s.repository);
  text += fmt::format("Pieces:   {}, {} of {} in use\n", s.counters.pieces,
                      format_size(s.counters.used_blocks * kBlockBytes), format_size(s.data_bytes));
  text += "Journal:  ";
  text += s.superblock.has_value() ? ring_text(s.superblock->ring)
                                   : "unknown: the superblock is damaged";
  text += fmt::format("\n          the index has batch {}; ", s.position.applied.sequence);
  if (s.without_journal) {
    return text + "what came later is not looked at: some of this is missing or old\n";
  }
  text += fmt::format("{} more to apply, {} only in the journal\n", s.batches,
                      format_size(s.homeless * kBlockBytes));
  if (s.dropped != 0) {
    text += fmt::format("          {} ops of the last batch are unfinished and do not count\n",
                        s.dropped);
  }
  return text;
}

Json piece_json(PieceId piece, const store::PieceRow& row) {
  Json ops = Json::array();
  for (const store::PendingOp& op : row.pending) {
    ops.push_back({{"epoch", op.op.epoch.raw()},
                   {"seq", op.op.seq.raw()},
                   {"decided", op.decided},
                   {"participants", pieces_json(op.participants)},
                   {"writes", store::total_blocks(op.writes)},
                   {"zeroes", store::total_blocks(op.zeroes)},
                   {"deltas", store::total_blocks(op.deltas)}});
  }
  return Json{{"piece", piece_name(piece)},
              {"chunk", piece.chunk.raw()},
              {"index", piece.index.raw()},
              {"inode", row.facts.inode},
              {"chunk_index", row.facts.chunk_index},
              {"data", row.facts.data},
              {"parity", row.facts.parity},
              {"cell_bytes", row.facts.cell_bytes},
              {"generator", row.facts.generator},
              {"version", row.fence.version.raw()},
              {"epoch", row.fence.epoch.raw()},
              {"settled_blocks", row.blocks},
              {"undecided_ops", undecided(row)},
              {"unconfirmed_copy", row.fence.copy},
              {"ops", std::move(ops)}};
}

std::string piece_text(PieceId piece, const store::PieceRow& row) {
  return fmt::format("{:<20} {:>9} {:>10}  {:<7} {:>7} {:>8} {:>8} {:>4}\n", piece_name(piece),
                     row.facts.inode, row.facts.chunk_index, code_text(row.facts), row.blocks,
                     row.fence.version.raw(), row.fence.epoch.raw(), row.pending.size());
}

std::string ops_text(const store::PieceRow& row) {
  std::string text;
  for (const store::PendingOp& op : row.pending) {
    text += fmt::format("  op {}, {}: writes {}, zeroes {}, deltas {}\n", op_text(op.op),
                        op.decided ? "decided, to be folded" : "undecided",
                        store::total_blocks(op.writes), store::total_blocks(op.zeroes),
                        store::total_blocks(op.deltas));
  }
  return text;
}

std::string block_text(const store::LocatedBlock& block, const std::string& missing) {
  std::string text = fmt::format("  block {:>8}  ", block.block);
  text += block.base.disk == 0
              ? "zeros"
              : fmt::format("disk {:>10}  crc {:08x}", block.base.disk, block.base.crc);
  for (const store::BlockPlace& delta : block.deltas) {
    text += fmt::format("  + delta at {}", delta.disk);
  }
  return text + (missing.empty() ? "" : "  " + missing) + "\n";
}

Json block_json(const store::LocatedBlock& block, const std::string& missing) {
  Json json{{"block", block.block}, {"disk", block.base.disk}, {"crc", block.base.crc}};
  Json deltas = Json::array();
  for (const store::BlockPlace& delta : block.deltas) {
    deltas.push_back({{"disk", delta.disk}, {"crc", delta.crc}});
  }
  json["deltas"] = std::move(deltas);
  if (!missing.empty()) json["missing"] = missing;
  return json;
}

Json batch_json(const store::Batch& batch) {
  Json records = Json::array();
  for (const store::Record& record : batch.records) {
    records.push_back({{"piece", piece_name(store::piece_of(record))},
                       {"text", std::visit(RecordText(), record)}});
  }
  return Json{{"sequence", batch.sequence},
              {"at", batch.at},
              {"blocks", batch.blocks},
              {"data_blocks", batch.data_blocks},
              {"records", std::move(records)}};
}

std::string batch_text(const store::Batch& batch) {
  std::string text =
      fmt::format("batch {} at block {}: {} blocks, {} of data, {} records\n", batch.sequence,
                  batch.at, batch.blocks, batch.data_blocks, batch.records.size());
  for (const store::Record& record : batch.records) {
    text += fmt::format("  {:<16} {}\n", piece_name(store::piece_of(record)),
                        std::visit(RecordText(), record));
  }
  return text;
}

std::string ranges_text(const std::vector<store::BlockRange>& ranges) {
  constexpr std::size_t kShown = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, ranges.size()); ++i) {
    if (i != 0) text += ", ";
    text += fmt::format("{}", ranges[i].first);
    if (ranges[i].count > 1) text += fmt::format("-{}", ranges[i].end() - 1);
  }
  if (ranges.size() > kShown) text += ", ...";
  return text;
}

Json ranges_json(const std::vector<store::BlockRange>& ranges) {
  Json json = Json::array();
  for (const store::BlockRange& range : ranges) {
    json.push_back({{"first", range.first}, {"count", range.count}});
  }
  return json;
}

}  // namespace cairn::admin
