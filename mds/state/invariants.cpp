#include "mds/state/invariants.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "common/base/limits.h"
#include "common/base/units.h"
#include "mds/state/chunks.h"
#include "mds/state/client_mutation.h"
#include "mds/state/keys.h"
#include "mds/state/rows.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state {
namespace {

using keys::Table;
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
  std::set<Piece> removals;
  std::set<std::uint64_t> orphans;
  std::set<Place> leases;  // session, inode
  std::map<std::uint64_t, pb::SessionRecord> sessions;
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
Status each_key(Walk& walk, Table table, const Visit& visit) {
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

Status read_namespace(Walk& walk) {
  TRY_VOID(each_key(walk, Table::kInode, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_inode(Table::kInode, key);
    pb::InodeRecord inode;
    if (!id || !parse_into(inode, value) || inode.attributes().inode() != id->raw()) return false;
    walk.inodes.emplace(id->raw(), std::move(inode));
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kDentry, [&](std::string_view key, std::string_view value) {
    const auto at = keys::decode_name(Table::kDentry, key);
    pb::DentryRecord dentry;
    if (!at || !parse_into(dentry, value)) return false;
    const std::uint64_t parent = at->inode.raw();
    ++walk.names[dentry.inode()];
    if (dentry.type() == pb::TYPE_DIRECTORY) {
      ++walk.subdirectories[parent];
      walk.named_by[dentry.inode()] = parent;
    }
    const auto inode = walk.inodes.find(dentry.inode());
    const bool there = inode != walk.inodes.end();
    walk.expect(there, "a name leads to no inode", dentry.inode());
    if (there) {
      walk.expect(inode->second.attributes().type() == dentry.type(),
                  "a name has another type than its inode", dentry.inode());
    }
    const auto directory = walk.inodes.find(parent);
    walk.expect(directory != walk.inodes.end() &&
                    directory->second.attributes().type() == pb::TYPE_DIRECTORY,
                "a name lies in no directory", parent);
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kXattr, [&](std::string_view key, std::string_view value) {
    const auto at = keys::decode_name(Table::kXattr, key);
    if (!at) return false;
    walk.xattr_bytes[at->inode.raw()] += at->name.size() + value.size();
    walk.expect(walk.inodes.contains(at->inode.raw()), "an xattr of no inode", at->inode.raw());
    return true;
  }));
  return each_key(walk, Table::kOrphan, [&](std::string_view key, std::string_view) {
    const auto id = keys::decode_inode(Table::kOrphan, key);
    if (id) walk.orphans.insert(id->raw());
    return id.has_value();
  });
}

Status read_places(Walk& walk, Table table, std::map<Place, std::uint64_t>& rows) {
  return each_key(walk, table, [&](std::string_view key, std::string_view value) {
    const auto place = keys::decode_place(table, key);
    const auto chunk = keys::decode_number(value);
    if (!place || !chunk) return false;
    rows.emplace(Place{place->inode.raw(), place->index}, *chunk);
    return true;
  });
}

Status read_pieces(Walk& walk, Table table, std::set<Piece>& rows) {
  return each_key(walk, table, [&](std::string_view key, std::string_view) {
    const auto place = keys::decode_piece(table, key);
    if (place) rows.emplace(place->cs.raw(), place->chunk.raw(), place->piece);
    return place.has_value();
  });
}

Status read_chunks(Walk& walk) {
  TRY_VOID(each_key(walk, Table::kChunk, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_chunk(key);
    pb::Chunk chunk;
    if (!id || !parse_into(chunk, value) || chunk.id() != id->raw()) return false;
    walk.chunks.emplace(id->raw(), std::move(chunk));
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kChunkServer, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_cs(Table::kChunkServer, key);
    pb::CsRecord cs;
    if (!id || !parse_into(cs, value) || cs.id() != id->raw()) return false;
    walk.chunk_servers.insert(cs.id());
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kPieceCount, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_cs(Table::kPieceCount, key);
    const auto count = keys::decode_number(value);
    if (!id || !count || *count == 0) return false;
    walk.piece_counts.emplace(id->raw(), *count);
    return true;
  }));
  TRY_VOID(read_places(walk, Table::kChunkAt, walk.map_rows));
  TRY_VOID(read_places(walk, Table::kOpenChunk, walk.open_rows));
  TRY_VOID(read_pieces(walk, Table::kPieceOn, walk.pieces));
  return read_pieces(walk, Table::kRemoval, walk.removals);
}

Status read_sessions(Walk& walk) {
  TRY_VOID(each_key(walk, Table::kSession, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_session(key);
    pb::SessionRecord session;
    if (!id || !parse_into(session, value) || session.id() != id->raw()) return false;
    walk.sessions.emplace(id->raw(), std::move(session));
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kLease, [&](std::string_view key, std::string_view) {
    const auto lease = keys::decode_lease(key);
    if (lease) walk.leases.emplace(lease->session.raw(), lease->inode.raw());
    return lease.has_value();
  }));
  return each_key(walk, Table::kReply, [&](std::string_view key, std::string_view value) {
    const auto at = keys::decode_reply(key);
    pb::ClientReply reply;
    if (!at || !parse_into(reply, value)) return false;
    const auto session = walk.sessions.find(at->session.raw());
    walk.expect(session != walk.sessions.end() &&
                    at->seq.raw() >= session->second.answered_below() &&
                    at->seq.raw() - session->second.answered_below() < kReplyWindow,
                "a stored reply of no session or outside its window", at->session.raw());
    return true;
  });
}

Status read_settings(Walk& walk) {
  return each_key(walk, Table::kSetting, [&](std::string_view key, std::string_view value) {
    return keys::decode_setting(key).has_value() && !value.empty();
  });
}

// Follows the parents to the root: everything that does is marked in `rooted`.
bool reaches_root(const Walk& walk, std::uint64_t id, std::set<std::uint64_t>& rooted) {
  std::vector<std::uint64_t> path;
  std::set<std::uint64_t> seen;
  while (!rooted.contains(id)) {
    const auto up = walk.named_by.find(id);
    if (up == walk.named_by.end() || !seen.insert(id).second) return false;
    path.push_back(id);
    id = up->second;
  }
  rooted.insert(path.begin(), path.end());
  return true;
}

std::uint64_t count_of(const std::map<std::uint64_t, std::uint64_t>& counts, std::uint64_t id) {
  const auto it = counts.find(id);
  return it == counts.end() ? 0 : it->second;
}

void check_directory(Walk& walk, std::uint64_t id, const pb::InodeRecord& inode,
                     std::set<std::uint64_t>& rooted) {
  const bool root = id == kRootInode.raw();
  walk.expect(count_of(walk.names, id) == (root ? 0 : 1), "a directory has not one name", id);
  walk.expect(inode.attributes().nlink() == 2 + count_of(walk.subdirectories, id),
              "the link count of a directory is wrong", id);
  const std::uint64_t parent = root ? id : count_of(walk.named_by, id);
  walk.expect(inode.parent() == parent, "the parent of a directory is wrong", id);
  walk.expect(reaches_root(walk, id, rooted), "a directory does not hang on the root", id);
}

void check_inode(Walk& walk, std::uint64_t id, const pb::InodeRecord& inode) {
  const pb::Attributes& a = inode.attributes();
  const bool regular = a.type() == pb::TYPE_REGULAR;
  walk.expect(id < walk.counters.next_inode(), "an inode is past the counter", id);
  walk.expect(inode.xattr_bytes() == count_of(walk.xattr_bytes, id), "xattr bytes are wrong", id);
  walk.expect(regular || (inode.lease_session() == 0 && inode.chunk_count() == 0),
              "something else than a regular file has a lease or chunks", id);
  if (a.type() != pb::TYPE_DIRECTORY) {
    walk.expect(a.nlink() == count_of(walk.names, id), "a link count is wrong", id);
    walk.expect(regular || a.nlink() > 0, "an unlinked special file is left", id);
  }
  if (regular) {
    const std::uint64_t room = inode.chunk_count() * chunk_bytes(inode.layout());
    const std::uint64_t most = std::min(align_up(a.size(), kBlockBytes), room);
    walk.expect(a.blocks() * 512 <= most && a.blocks() * 512 % kBlockBytes == 0,
                "a file shows more blocks than it can have", id);
  }
  const bool orphan = regular && a.nlink() == 0;
  walk.expect(orphan == walk.orphans.contains(id), "the orphan row is wrong", id);
  if (inode.lease_session() != 0) {
    walk.expect(walk.leases.contains({inode.lease_session(), id}), "a lease has no row", id);
    walk.expect(walk.sessions.contains(inode.lease_session()), "a lease of no session", id);
  }
  walk.expect(inode.lease_epoch() < walk.counters.next_epoch(), "an epoch is past the counter", id);
}

void check_namespace(Walk& walk) {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::set<std::uint64_t> rooted{kRootInode.raw()};
  for (const auto& [id, inode] : walk.inodes) {
    check_inode(walk, id, inode);
    if (inode.attributes().type() == pb::TYPE_DIRECTORY) check_directory(walk, id, inode, rooted);
    if (inode.attributes().type() != pb::TYPE_REGULAR) continue;
    ++files;
    bytes += inode.attributes().size();
  }
  for (const std::uint64_t id : walk.orphans) {
    walk.expect(walk.inodes.contains(id), "an orphan row of no inode", id);
  }
  for (const auto& [session, id] : walk.leases) {
    const auto inode = walk.inodes.find(id);
    walk.expect(inode != walk.inodes.end() && inode->second.lease_session() == session,
                "a lease row of no lease", id);
  }
  walk.expect(walk.counters.inodes() == walk.inodes.size(), "the inode counter is wrong",
              walk.counters.inodes());
  walk.expect(walk.counters.files() == files, "the file counter is wrong", walk.counters.files());
  walk.expect(walk.counters.file_bytes() == bytes, "the byte counter is wrong",
              walk.counters.file_bytes());
}

// The pieces of one chunk; those with a place are added to `placed`.
void check_pieces(Walk& walk, const pb::Chunk& chunk, std::set<Piece>& placed) {
  const pb::Encoding& encoding = chunk.encoding();
  const auto pieces = static_cast<std::size_t>(chunk.pieces_size());
  walk.expect(pieces == std::size_t{encoding.data()} + encoding.parity(),
              "a chunk has not all its pieces", chunk.id());
  walk.expect(live_pieces(chunk, 0) >= least_pieces(encoding), "a chunk is below its minimum",
              chunk.id());
  std::uint32_t index = 0;
  for (const pb::Piece& piece : chunk.pieces()) {
    walk.expect(piece.index() == index++, "pieces are not in order", chunk.id());
    walk.expect((piece.cs_id() == 0) == (piece.state() == pb::PIECE_MISSING),
                "a missing piece has a place, or another has none", chunk.id());
    walk.expect(piece.address().empty(), "an address is stored", chunk.id());
    if (piece.cs_id() == 0) continue;
    const Piece place{piece.cs_id(), chunk.id(), piece.index()};
    placed.insert(place);
    walk.expect(walk.chunk_servers.contains(piece.cs_id()), "a piece is on an unknown CS",
                chunk.id());
    walk.expect(!walk.removals.contains(place), "a piece in use is to be removed", chunk.id());
  }
}

void check_chunk(Walk& walk, const pb::Chunk& chunk) {
  const Place place{chunk.inode(), chunk.index()};
  const auto row = walk.map_rows.find(place);
  walk.expect(row != walk.map_rows.end() && row->second == chunk.id(), "a chunk has no map row",
              chunk.id());
  const auto open = walk.open_rows.find(place);
  walk.expect((chunk.writer_epoch() != 0) == (open != walk.open_rows.end()),
              "the open row of a chunk is wrong", chunk.id());
  if (open != walk.open_rows.end()) {
    walk.expect(open->second == chunk.id(), "an open row names another chunk", chunk.id());
  }
  const auto inode = walk.inodes.find(chunk.inode());
  if (inode == walk.inodes.end()) {
    walk.blame("a chunk of no inode: " + std::to_string(chunk.id()));
    return;
  }
  walk.expect(inode->second.layout().SerializeAsString() == layout_of(chunk).SerializeAsString(),
              "a chunk has another layout than its file", chunk.id());
  walk.expect(chunk.writer_epoch() <= inode->second.lease_epoch(),
              "a chunk is open under an epoch its file never had", chunk.id());
  walk.expect(chunk.id() < walk.counters.next_chunk(), "a chunk is past the counter", chunk.id());
  walk.expect(chunk.version() > 0, "a chunk has no version", chunk.id());
}

void check_chunks(Walk& walk) {
  std::set<Piece> placed;
  std::map<std::uint64_t, std::uint64_t> per_inode;
  for (const auto& [id, chunk] : walk.chunks) {
    check_chunk(walk, chunk);
    check_pieces(walk, chunk, placed);
    ++per_inode[chunk.inode()];
  }
  for (const auto& [id, inode] : walk.inodes) {
    walk.expect(inode.chunk_count() == count_of(per_inode, id), "a chunk count is wrong", id);
  }
  walk.expect(walk.map_rows.size() == walk.chunks.size(), "map rows without a chunk",
              walk.map_rows.size());
  for (const auto& [place, chunk] : walk.open_rows) {
    walk.expect(walk.chunks.contains(chunk), "an open row without a chunk", chunk);
  }
  if (placed != walk.pieces) walk.blame("the reverse index differs from the chunks' places");
  std::map<std::uint32_t, std::uint64_t> counts;
  for (const auto& [cs, chunk, piece] : placed) ++counts[cs];
  if (counts != walk.piece_counts) walk.blame("the piece counts differ from the reverse index");
  walk.expect(walk.counters.chunks() == walk.chunks.size(), "the chunk counter is wrong",
              walk.counters.chunks());
}

}  // namespace

Result<std::vector<std::string>> check_invariants(const kv::Reader& reader, std::size_t limit) {
  Walk walk(reader, limit);
  TRY(const std::optional<pb::Counters> counters,
      rows::find<pb::Counters>(reader, keys::counters()));
  if (!counters) return std::vector<std::string>();
  walk.counters = *counters;
  TRY_VOID(read_namespace(walk));
  TRY_VOID(read_chunks(walk));
  TRY_VOID(read_sessions(walk));
  TRY_VOID(read_settings(walk));
  walk.expect(walk.inodes.contains(kRootInode.raw()), "there is no root", kRootInode.raw());
  check_namespace(walk);
  check_chunks(walk);
  return std::move(walk.wrong);
}

}  // namespace cairn::mds::state
