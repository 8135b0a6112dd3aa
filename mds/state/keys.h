// Keys of the MDS tables: one letter for the table, then ids as big-endian numbers, so that keys
// order as the ids do and everything of one inode, session or chunk server lies together.
// docs/formats/mds-tables.md has every table with a worked example; the bytes are golden-tested.
//
// Promises: encode and decode are inverse; two tables never share a key.
// Limits:   names are the tail of their key and may hold any byte.
// Errors:   a decoder answers nullopt for bytes that are no key of its table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.h"

namespace cairn::mds::state::keys {

enum class Table : char {
  kApplied = 'A',      // -> slot, time of the newest command
  kGroup = 'G',        // -> members of the MDS group (paxos::encode_membership)
  kCluster = 'C',      // -> ClusterRecord
  kCounters = 'N',     // -> Counters
  kInode = 'I',        // inode -> InodeRecord
  kDentry = 'D',       // parent, name -> DentryRecord
  kXattr = 'X',        // inode, name -> value
  kChunk = 'K',        // chunk -> Chunk
  kChunkAt = 'M',      // inode, index -> chunk
  kOpenChunk = 'W',    // inode, index -> chunk, while writer_epoch is set
  kDegraded = 'B',     // chunk -> "", while a piece of it is missing
  kPieceOn = 'P',      // cs, chunk, piece -> "": the map places it there
  kPieceCount = 'T',   // cs -> how many rows of P it has
  kRemoval = 'R',      // cs, chunk, piece -> up to which version to remove it; "": any
  kOrphan = 'O',       // inode -> "": regular file without a name
  kLease = 'L',        // session, inode -> "": exclusive lease
  kSession = 'S',      // session -> SessionRecord
  kReply = 'Q',        // session, seq -> ClientReply
  kChunkServer = 'H',  // cs -> CsRecord
  kEvent = 'E',        // event -> Event
  kSetting = 'V',      // name -> value: settings of the cluster that are not at their default
  kConversion = 'Y',   // inode -> ConversionRecord: its data is to get another encoding
};

struct InodeName {
  InodeId inode;
  std::string_view name;  // lives as long as the key
};
struct ChunkPlace {
  InodeId inode;
  std::uint64_t index = 0;
};
struct PiecePlace {
  NodeId cs;
  ChunkId chunk;
  unsigned piece = 0;
};
struct SessionInode {
  SessionId session;
  InodeId inode;
};
struct SessionSeq {
  SessionId session;
  RequestSeq seq;
};

std::string applied();
std::string group();
std::string cluster();
std::string counters();
std::string inode(InodeId inode);
std::string dentry(InodeId parent, std::string_view name);
std::string xattr(InodeId inode, std::string_view name);
std::string chunk(ChunkId chunk);
std::string chunk_at(ChunkPlace place);
std::string open_chunk(ChunkPlace place);
std::string degraded(ChunkId chunk);
std::string piece_on(PiecePlace place);
std::string piece_count(NodeId cs);
std::string removal(PiecePlace place);
std::string orphan(InodeId inode);
std::string lease(SessionInode lease);
std::string session(SessionId session);
std::string reply(SessionSeq reply);
std::string chunk_server(NodeId cs);
std::string event(std::uint64_t event);
std::string setting(std::string_view name);
std::string conversion(InodeId inode);

// What all keys of a table, or of one owner in it, start with.
std::string all_of(Table table);
std::string of_inode(Table table, InodeId inode);        // D, X, M, W
std::string of_cs(Table table, NodeId cs);               // P, R
std::string of_session(Table table, SessionId session);  // L, Q

std::optional<InodeId> decode_inode(Table table, std::string_view key);     // I, O, Y
std::optional<InodeName> decode_name(Table table, std::string_view key);    // D, X
std::optional<ChunkId> decode_chunk(Table table, std::string_view key);     // K, B
std::optional<ChunkPlace> decode_place(Table table, std::string_view key);  // M, W
std::optional<PiecePlace> decode_piece(Table table, std::string_view key);  // P, R
std::optional<NodeId> decode_cs(Table table, std::string_view key);         // H, T
std::optional<SessionInode> decode_lease(std::string_view key);             // L
std::optional<SessionId> decode_session(std::string_view key);              // S
std::optional<SessionSeq> decode_reply(std::string_view key);               // Q
std::optional<std::uint64_t> decode_event(std::string_view key);            // E
std::optional<std::string_view> decode_setting(std::string_view key);       // V, lives as the key

// Values that are one number: 8 bytes, big-endian.
std::string encode_number(std::uint64_t number);
std::optional<std::uint64_t> decode_number(std::string_view value);
// Of R: the version up to which the piece is meant, "" for 0: any.
std::string encode_removal(std::uint64_t version);
std::optional<std::uint64_t> decode_removal(std::string_view value);

}  // namespace cairn::mds::state::keys
