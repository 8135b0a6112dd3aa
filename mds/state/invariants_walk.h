// What check_invariants() reads and finds. Private to it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "common/kv/kv.h"
#include "mds/state/keys.h"
#include "mds/state/rows.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state::invariants {

using Piece = std::tuple<std::uint32_t, std::uint64_t, unsigned>;  // cs, chunk, piece
using Place = std::pair<std::uint64_t, std::uint64_t>;             // inode, index

// What was read, by raw ids, and what was found wrong.
struct Walk {
  Walk(const kv::Reader& from, std::size_t most) : reader(from), limit(most) {}

  const kv::Reader& reader;
  std::size_t limit = 0;
  std::vector<std::string> wrong;

  pb::Counters counters;
  std::map<std::uint64_t, pb::InodeRecord> inodes;
  std::map<std::uint64_t, std::uint64_t> names;           // inode -> names that lead to it
  std::map<std::uint64_t, std::uint64_t> subdirectories;  // inode -> how many
  std::map<std::uint64_t, std::uint64_t> named_by;        // directory -> parent of its name
  std::map<std::uint64_t, std::uint64_t> xattr_bytes;
  std::map<std::uint64_t, pb::Chunk> chunks;
  std::map<Place, std::uint64_t> map_rows;
  std::map<Place, std::uint64_t> open_rows;
  std::set<Piece> pieces;
  std::map<std::uint32_t, std::uint64_t> piece_counts;
  std::set<std::uint64_t> degraded;
  std::set<Piece> removals;
  std::set<std::uint64_t> orphans;
  std::set<Place> leases;  // session, inode
  std::map<std::uint64_t, pb::SessionRecord> sessions;
  std::map<std::uint64_t, pb::ConversionRecord> conversions;
  std::set<std::uint32_t> chunk_servers;

  void blame(std::string sentence) {
    if (wrong.size() < limit) wrong.push_back(std::move(sentence));
  }
  void expect(bool holds, const char* what, std::uint64_t id) {
    if (!holds) blame(std::string(what) + ": " + std::to_string(id));
  }
};

// Visits each row of a table; `visit` answers false for a row that makes no sense.
template <class Visit>
Status each_key(Walk& walk, keys::Table table, const Visit& visit) {
  const auto check = [&](std::string_view key, std::string_view value) {
    if (!visit(key, value)) walk.blame(rows::corrupt(static_cast<char>(table)).error().message());
    return true;
  };
  return rows::scan(walk.reader, keys::all_of(table), {}, check);
}

template <class T>
bool parse_into(T& row, std::string_view value) {
  return row.ParseFromArray(value.data(), static_cast<int>(value.size()));
}

inline std::uint64_t count_of(const std::map<std::uint64_t, std::uint64_t>& counts,
                              std::uint64_t id) {
  const auto it = counts.find(id);
  return it == counts.end() ? 0 : it->second;
}

// Everything about chunks and chunk servers, after the namespace was read.
Status read_chunks(Walk& walk);
void check_chunks(Walk& walk);

}  // namespace cairn::mds::state::invariants
