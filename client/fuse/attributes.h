// Attributes of the cluster as the kernel wants them. Pure.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "proto/types.pb.h"

namespace cairn::client::fuse {

struct stat to_stat(const pb::Attributes& attributes);
// S_IFREG and friends; 0 for TYPE_UNSET.
mode_t to_file_type(pb::FileType type);
// TYPE_UNSET for a mode without a known type.
pb::FileType from_mode(mode_t mode);

timespec to_timespec(std::int64_t nanos);
std::int64_t to_nanos(const timespec& time);

}  // namespace cairn::client::fuse
