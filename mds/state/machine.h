// Machine: the replicated state of a cluster as a deterministic function of the log.
//
// apply() reads the tables through `reader` (which sees all earlier commands) and returns what the
// command changes and answers. No clock, no randomness, no memory of its own: replicas that applied
// the same slots have equal tables. The time of a command counts as that of the newest one before
// it when it is earlier: masters' clocks differ. Bad commands change nothing but the stored reply.
// Tables and keys: mds/state/keys.h, docs/formats/mds-tables.md. Rules:
// docs/protocols/namespace.md.
//
// A client's mutation answers CommandReply.client (its `error` says that it was refused; stored and
// repeated) or, with nothing stored, CommandReply.error: kSessionGone, kProtocol, kOverloaded.
// Numbers from 2^63 on are the master's, to give leases back for a session: always executed, never
// stored.
//
// Leases and recovery, as the master has to drive them:
// - ReleaseLease always ends the lease. With `unsettled` its chunks stay open (open_chunks()).
// - GrantLease answers kBusy while another session holds the inode or any of its chunks is open. To
//   the session that holds it already it answers the present epoch.
// - BeginRecovery answers the chunk at its new version and, in lease_epoch, a new epoch for the
//   Seal; the inode's lease epoch becomes that, so the lost writer is stale here too. Repeat it at
//   will.
// - FinishRecovery settles the chunk. What lies past the committed size is the next writer's to
//   trim (trim_pending); chunks wholly past it are removed when the lost writer's lease ends
//   (unsettled release or EndSession), or by FinishRecovery when it has ended before. A repeat
//   after success answers the chunk, or kNotFound / kStaleVersion when it has moved on: look at
//   open_chunks() again. Refused (kTooFewPieces) when fewer pieces than the data ones would stay.
// - EndSession answers kBusy while an inode the session holds has open chunks.
//
// Repair of missing pieces, as the master has to drive it (data-path.md, "Repair"):
// - PlacePiece is refused with kStaleVersion (another version), kRefusedForSafety (the piece is not
//   missing, the CS has a piece of the chunk, or shall still remove one) and kNotFound (chunk or
//   CS).
// - FinishRepair is refused with kStaleVersion, kBusy (the chunk is open), kRefusedForSafety (the
//   piece is not missing, or not at that CS) and kNotFound. Its version stands for all that was
//   copied: OpenChunk of a settled chunk with missing pieces makes a new one.
//
// Conversion of files (docs/protocols/conversion.md), as the master has to drive it:
// - MakeShadow answers make_node: a nameless inode that the session holds exclusively. It is an
//   orphan from its birth: the master pins it for the session before it looks at orphans again.
// - From the first step of its purge on, and once its data was exchanged, a shadow is none any more
//   (shadow_of 0): SwapData refuses it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/kv/kv.h"
#include "mds/state/settings.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state {

struct Applied {
  kv::Batch changes;  // includes the applied slot
  pb::CommandReply reply;
};

class Machine {
 public:
  // Errors: only those of the reader (kCorrupt, kDiskFailed); a refusal is in the reply.
  static Result<Applied> apply(Slot slot, const pb::Command& command, const kv::Reader& reader);
  // A slot without a command, and one that says who the members of the MDS group are (bytes of the
  // consensus core, kept as they are).
  static Result<Applied> apply_noop(Slot slot, const kv::Reader& reader);
  static Result<Applied> apply_group(Slot slot, std::string_view membership,
                                     const kv::Reader& reader);

  // The slot whose changes the tables have; 0 for empty tables.
  static Result<Slot> applied_slot(const kv::Reader& reader);
  // What apply_group() was last given; empty when never.
  static Result<std::string> group(const kv::Reader& reader);
  // CRC32C over all keys and values in order: equal on replicas at equal slots.
  static Result<std::uint32_t> digest(const kv::Reader& reader);
};

// Reads, answered from the tables.
// Errors:   kNotFound and friends of the namespace, or the reader's.
namespace queries {

Result<pb::ClusterRecord> cluster(const kv::Reader& reader);
Result<pb::Counters> counters(const kv::Reader& reader);
Result<pb::InodeRecord> inode(const kv::Reader& reader, InodeId id);
Result<pb::Attributes> lookup(const kv::Reader& reader, InodeId parent, std::string_view name);
// "/a/b" or "a/b" from the root, without following symlinks.
Result<pb::InodeRecord> resolve(const kv::Reader& reader, std::string_view path);
// The path of an inode as far as the tables know it (directories always; files: nullopt).
Result<pb::ReadDirReply> read_dir(const kv::Reader& reader, const pb::ReadDir& request);
Result<std::string> xattr(const kv::Reader& reader, InodeId id, std::string_view name);
Result<pb::ListXattrReply> xattr_names(const kv::Reader& reader, InodeId id);
// At most `count` chunks with index >= first, in order. Holes are absent.
Result<pb::GetChunksReply> chunks(const kv::Reader& reader, InodeId id, std::uint64_t first,
                                  std::uint32_t count);
Result<pb::Chunk> chunk(const kv::Reader& reader, ChunkId id);
// Chunks whose writer_epoch is set.
Result<std::vector<pb::Chunk>> open_chunks(const kv::Reader& reader, InodeId inode);
// Inodes that have such chunks, at most `limit`, after `after`: what a new master has to look at.
Result<std::vector<InodeId>> inodes_with_open_chunks(const kv::Reader& reader, InodeId after,
                                                     std::size_t limit);
Status each_chunk(const kv::Reader& reader, const std::function<bool(const pb::Chunk&)>& visit);
// Those with id > after: lets a walk pause between slices.
Status each_chunk_after(const kv::Reader& reader, ChunkId after,
                        const std::function<bool(const pb::Chunk&)>& visit);
Result<std::vector<pb::CsRecord>> chunk_servers(const kv::Reader& reader);
Result<std::vector<pb::SessionRecord>> sessions(const kv::Reader& reader);
// Inodes that `session` holds exclusively.
Result<std::vector<InodeId>> exclusive_leases(const kv::Reader& reader, SessionId session);
// Unlinked inodes that wait to be purged, at most `limit`, after `after`.
Result<std::vector<InodeId>> orphans(const kv::Reader& reader, InodeId after, std::size_t limit);
// Chunks with missing pieces, at most `limit`, after `after`, by id: what repair has to do.
Result<std::vector<pb::Chunk>> degraded_chunks(const kv::Reader& reader, ChunkId after,
                                               std::size_t limit);
// Pieces to be removed at a CS, at most `limit`, each with the version up to which it is meant.
Result<std::vector<pb::PieceRef>> removals(const kv::Reader& reader, NodeId cs, std::size_t limit);
// How many pieces the map places on a CS.
Result<std::uint64_t> pieces_on(const kv::Reader& reader, NodeId cs);
Result<std::vector<pb::Event>> events(const kv::Reader& reader, std::uint64_t after,
                                      std::size_t limit);
Result<std::vector<pb::Event>> last_events(const kv::Reader& reader, std::size_t limit);
// What a setting is: its stored value, or its default.
Result<std::uint64_t> setting(const kv::Reader& reader, const SettingSpec& spec);
// All that are stored, by name; also those that this version does not know.
Result<std::vector<pb::Setting>> stored_settings(const kv::Reader& reader);
// Files whose data is to get another encoding, at most `limit`, after `after`, by inode.
struct Conversion {
  InodeId inode;
  pb::ConversionRecord record;
};
Result<std::vector<Conversion>> conversions(const kv::Reader& reader, InodeId after,
                                            std::size_t limit);
// nullopt: nothing is to be done with that inode.
Result<std::optional<pb::ConversionRecord>> conversion(const kv::Reader& reader, InodeId id);
// How many there are; reads all their keys.
Result<std::uint64_t> conversion_count(const kv::Reader& reader);
// The stored reply of a mutation; nullopt when it is new.
Result<std::optional<pb::ClientReply>> stored_reply(const kv::Reader& reader, SessionId session,
                                                    RequestSeq seq);

}  // namespace queries

}  // namespace cairn::mds::state
