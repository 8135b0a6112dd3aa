// Every id and ordinal of the domain on one page. See the glossary in docs/ARCHITECTURE.md.
#pragma once

#include "common/base/strong.h"

namespace cairn {

// Ids: 0 means none.
using ClusterId = StrongId<struct ClusterIdTag>;           // random, made by make-mds -I
using NodeId = StrongId<struct NodeIdTag, std::uint32_t>;  // MDS 1.., CS 1025.., client 2049..
using HostId = StrongId<struct HostIdTag>;                 // /etc/cairn/host_id, 16 hex digits
using SessionId = StrongId<struct SessionIdTag>;           // one mounted client's life
using InodeId = StrongId<struct InodeIdTag>;
using ChunkId = StrongId<struct ChunkIdTag>;

// Orders and counts.
using Slot = StrongNum<struct SlotTag>;                  // index in the replicated log
using ChunkVersion = StrongNum<struct ChunkVersionTag>;  // grows with each change of the piece set
using LeaseEpoch = StrongNum<struct LeaseEpochTag>;      // fences an old holder
using OpSeq = StrongNum<struct OpSeqTag>;                // write op of one chunk under one epoch
using RequestSeq = StrongNum<struct RequestSeqTag>;      // request of one session, from 1
using PieceIndex = StrongNum<struct PieceIndexTag, std::uint8_t>;  // 0..M-1 data, M..M+N-1 parity

inline constexpr InodeId kRootInode = InodeId::from_raw(1);
inline constexpr NodeId kFirstMdsId = NodeId::from_raw(1);
inline constexpr NodeId kFirstCsId = NodeId::from_raw(1025);
inline constexpr NodeId kFirstClientId = NodeId::from_raw(2049);

struct PieceId {
  ChunkId chunk;
  PieceIndex index;
  friend constexpr auto operator<=>(const PieceId&, const PieceId&) = default;
};

static_assert(!std::is_convertible_v<std::uint64_t, ChunkId>);
static_assert(!std::is_convertible_v<ChunkId, std::uint64_t>);
static_assert(sizeof(ChunkId) == 8 && std::is_trivially_copyable_v<ChunkId>);

}  // namespace cairn
