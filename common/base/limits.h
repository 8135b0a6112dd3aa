// Every hard limit of the system, with its reason. A full queue waits or refuses; none grows.
#pragma once

#include <cstdint>

#include "common/base/units.h"

namespace cairn::limits {

// Codes.
inline constexpr unsigned kDataPiecesMax = 17;  // design: 1+0 .. 17+4
inline constexpr unsigned kParityPiecesMax = 4;
inline constexpr unsigned kReplicasMax = 15;        // guide V3.5.1-2
inline constexpr unsigned kPiecesPerChunkMax = 21;  // 17 + 4

// Layout defaults; both are stored per file, so changing a default never moves old data.
inline constexpr ByteCount kCellBytesDefault = 1_MiB;  // the guide's piece size
inline constexpr ByteCount kPieceBytesDefault =
    64_MiB;  // what one piece of one chunk holds at most
inline constexpr ByteCount kFileBytesMax = 1ULL << 62;

// Namespace.
inline constexpr std::size_t kNameBytesMax = 255;
inline constexpr std::size_t kSymlinkBytesMax = 4095;
inline constexpr std::size_t kXattrNameBytesMax = 255;
inline constexpr std::size_t kXattrValueBytesMax = 65536;
inline constexpr std::size_t kXattrsBytesPerInodeMax = 131072;
inline constexpr std::uint32_t kLinksMax = 1'000'000;

// Frames of the data plane: a decoder refuses more before it allocates anything.
inline constexpr ByteCount kFrameMetaBytesMax = 4_MiB;
inline constexpr ByteCount kFrameBodyBytesMax = 8_MiB;
inline constexpr std::size_t kChannelRequestsInFlightMax = 1024;

// Sessions.
inline constexpr std::size_t kSessionRequestsInFlightMax = 512;  // replies kept per session
inline constexpr std::int64_t kLeaseMsDefault = 60'000;          // guide: 60 s

// MDS log.
inline constexpr std::size_t kLogBatchCommandsMax = 512;
inline constexpr ByteCount kLogBatchBytesMax = 4_MiB;
inline constexpr ByteCount kLogSegmentBytes = 64_MiB;
inline constexpr std::size_t kEventsKeptMax = 10'000;

// MDS peers.
inline constexpr ByteCount kPeerQueueBytesMax = 64_MiB;  // waiting for one peer; more is dropped
inline constexpr ByteCount kSnapshotPartBytes = 1_MiB;

// Chunk server.
inline constexpr ByteCount kPrepareBytesMax = 4_MiB;  // one PREPARE of one piece
inline constexpr ByteCount kReadBytesMax = 4_MiB;     // one READ of one piece

}  // namespace cairn::limits
