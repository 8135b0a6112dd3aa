// Limits of hwflush-check, with their reasons.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/time.h"
#include "common/base/units.h"

namespace cairn::admin::hwflush {

inline constexpr std::uint16_t kPort = 2530;       // beside the ports of a cluster, 2510 and 2511
inline constexpr std::uint32_t kThreadsMax = 200;  // guide V7.1-2
inline constexpr std::uint32_t kThreadsDefault = 50;
inline constexpr std::uint32_t kFileMbDefault = 4;  // 50 files: more than most caches hold
inline constexpr std::uint32_t kFileMbMax = 1024;

// A decoder refuses more before it allocates anything. The longest message is a Hello with the
// counters of all threads.
inline constexpr std::size_t kPayloadBytesMax = 16 * 1024;
inline constexpr std::size_t kHostBytesMax = 255;
inline constexpr std::size_t kPathBytesMax = 4096;
inline constexpr std::size_t kTextBytesMax = 1024;

inline constexpr std::size_t kDirectoriesMax = 1024;  // remembered by one server
inline constexpr std::size_t kConnectionsMax = 256;
inline constexpr ByteCount kStateBytesMax = 64_MiB;

inline constexpr Duration kConnectTime = 10s;
inline constexpr Duration kHelloTime = 10s;
// The server may have to write its state to a slow disk first.
inline constexpr Duration kAnswerTime = 15s;

}  // namespace cairn::admin::hwflush
