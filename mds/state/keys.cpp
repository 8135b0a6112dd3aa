#include "mds/state/keys.h"

namespace cairn::mds::state::keys {
namespace {

void append_be(std::string& out, std::uint64_t number, unsigned bytes) {
  for (unsigned i = bytes; i > 0; --i) {
    out.push_back(static_cast<char>((number >> ((i - 1) * 8)) & 0xff));
  }
}

std::uint64_t be_at(std::string_view key, std::size_t at, unsigned bytes) {
  std::uint64_t number = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    number = number << 8 | static_cast<unsigned char>(key[at + i]);
  }
  return number;
}

std::string with_u64(Table table, std::uint64_t a) {
  std::string key(1, static_cast<char>(table));
  append_be(key, a, 8);
  return key;
}
std::string with_u64_u64(Table table, std::uint64_t a, std::uint64_t b) {
  std::string key = with_u64(table, a);
  append_be(key, b, 8);
  return key;
}
std::string with_u32(Table table, std::uint32_t a) {
  std::string key(1, static_cast<char>(table));
  append_be(key, a, 4);
  return key;
}
std::string with_name(Table table, InodeId inode, std::string_view name) {
  std::string key = with_u64(table, inode.raw());
  key.append(name);
  return key;
}
std::string with_piece(Table table, PiecePlace place) {
  std::string key = with_u32(table, place.cs.raw());
  append_be(key, place.chunk.raw(), 8);
  append_be(key, place.piece, 1);
  return key;
}

bool is_of(std::string_view key, Table table, std::size_t size) {
  return key.size() == size && key[0] == static_cast<char>(table);
}
std::optional<std::uint64_t> one_u64(Table table, std::string_view key) {
  if (!is_of(key, table, 9)) return std::nullopt;
  return be_at(key, 1, 8);
}

}  // namespace

std::string applied() { return all_of(Table::kApplied); }
std::string group() { return all_of(Table::kGroup); }
std::string cluster() { return all_of(Table::kCluster); }
std::string counters() { return all_of(Table::kCounters); }
std::string inode(InodeId inode) { return with_u64(Table::kInode, inode.raw()); }
std::string dentry(InodeId parent, std::string_view name) {
  return with_name(Table::kDentry, parent, name);
}
std::string xattr(InodeId inode, std::string_view name) {
  return with_name(Table::kXattr, inode, name);
}
std::string chunk(ChunkId chunk) { return with_u64(Table::kChunk, chunk.raw()); }
std::string chunk_at(ChunkPlace place) {
  return with_u64_u64(Table::kChunkAt, place.inode.raw(), place.index);
}
std::string open_chunk(ChunkPlace place) {
  return with_u64_u64(Table::kOpenChunk, place.inode.raw(), place.index);
}
std::string degraded(ChunkId chunk) { return with_u64(Table::kDegraded, chunk.raw()); }
std::string piece_on(PiecePlace place) { return with_piece(Table::kPieceOn, place); }
std::string piece_count(NodeId cs) { return with_u32(Table::kPieceCount, cs.raw()); }
std::string removal(PiecePlace place) { return with_piece(Table::kRemoval, place); }
std::string orphan(InodeId inode) { return with_u64(Table::kOrphan, inode.raw()); }
std::string lease(SessionInode lease) {
  return with_u64_u64(Table::kLease, lease.session.raw(), lease.inode.raw());
}
std::string session(SessionId session) { return with_u64(Table::kSession, session.raw()); }
std::string reply(SessionSeq reply) {
  return with_u64_u64(Table::kReply, reply.session.raw(), reply.seq.raw());
}
std::string chunk_server(NodeId cs) { return with_u32(Table::kChunkServer, cs.raw()); }
std::string event(std::uint64_t event) { return with_u64(Table::kEvent, event); }
std::string setting(std::string_view name) { return all_of(Table::kSetting) + std::string(name); }
std::string conversion(InodeId inode) { return with_u64(Table::kConversion, inode.raw()); }

std::string all_of(Table table) { return std::string(1, static_cast<char>(table)); }
std::string of_inode(Table table, InodeId inode) { return with_u64(table, inode.raw()); }
std::string of_cs(Table table, NodeId cs) { return with_u32(table, cs.raw()); }
std::string of_session(Table table, SessionId session) { return with_u64(table, session.raw()); }

std::optional<InodeId> decode_inode(Table table, std::string_view key) {
  const auto raw = one_u64(table, key);
  if (!raw) return std::nullopt;
  return InodeId::from_raw(*raw);
}

std::optional<InodeName> decode_name(Table table, std::string_view key) {
  if (key.size() < 10 || key[0] != static_cast<char>(table)) return std::nullopt;
  return InodeName{InodeId::from_raw(be_at(key, 1, 8)), key.substr(9)};
}

std::optional<ChunkId> decode_chunk(Table table, std::string_view key) {
  const auto raw = one_u64(table, key);
  if (!raw) return std::nullopt;
  return ChunkId::from_raw(*raw);
}

std::optional<ChunkPlace> decode_place(Table table, std::string_view key) {
  if (!is_of(key, table, 17)) return std::nullopt;
  return ChunkPlace{InodeId::from_raw(be_at(key, 1, 8)), be_at(key, 9, 8)};
}

std::optional<PiecePlace> decode_piece(Table table, std::string_view key) {
  if (!is_of(key, table, 14)) return std::nullopt;
  return PiecePlace{NodeId::from_raw(static_cast<std::uint32_t>(be_at(key, 1, 4))),
                    ChunkId::from_raw(be_at(key, 5, 8)), static_cast<unsigned char>(key[13])};
}

std::optional<NodeId> decode_cs(Table table, std::string_view key) {
  if (!is_of(key, table, 5)) return std::nullopt;
  return NodeId::from_raw(static_cast<std::uint32_t>(be_at(key, 1, 4)));
}

std::optional<SessionInode> decode_lease(std::string_view key) {
  if (!is_of(key, Table::kLease, 17)) return std::nullopt;
  return SessionInode{SessionId::from_raw(be_at(key, 1, 8)), InodeId::from_raw(be_at(key, 9, 8))};
}

std::optional<SessionId> decode_session(std::string_view key) {
  const auto raw = one_u64(Table::kSession, key);
  if (!raw) return std::nullopt;
  return SessionId::from_raw(*raw);
}

std::optional<SessionSeq> decode_reply(std::string_view key) {
  if (!is_of(key, Table::kReply, 17)) return std::nullopt;
  return SessionSeq{SessionId::from_raw(be_at(key, 1, 8)), RequestSeq(be_at(key, 9, 8))};
}

std::optional<std::uint64_t> decode_event(std::string_view key) {
  return one_u64(Table::kEvent, key);
}

std::optional<std::string_view> decode_setting(std::string_view key) {
  if (key.size() < 2 || key[0] != static_cast<char>(Table::kSetting)) return std::nullopt;
  return key.substr(1);
}

std::string encode_number(std::uint64_t number) {
  std::string out;
  append_be(out, number, 8);
  return out;
}

std::optional<std::uint64_t> decode_number(std::string_view value) {
  if (value.size() != 8) return std::nullopt;
  return be_at(value, 0, 8);
}

std::string encode_removal(std::uint64_t version) {
  return version == 0 ? std::string() : encode_number(version);
}

std::optional<std::uint64_t> decode_removal(std::string_view value) {
  return value.empty() ? 0 : decode_number(value);
}

}  // namespace cairn::mds::state::keys
