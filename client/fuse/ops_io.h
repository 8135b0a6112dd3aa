// The bytes of open files: read, write, flush, fsync, fallocate.
#pragma once

#include "client/fuse/fuse_api.h"

namespace cairn::client::fuse {

void add_io_ops(fuse_lowlevel_ops& ops);

}  // namespace cairn::client::fuse
