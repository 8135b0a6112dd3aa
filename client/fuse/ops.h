// The operations of the kernel, by concept. Each file fills in its part of libfuse's table.
#pragma once

#include "client/fuse/fuse_api.h"

namespace cairn::client::fuse {

void add_namespace_ops(fuse_lowlevel_ops& ops);
void add_attribute_ops(fuse_lowlevel_ops& ops);
void add_file_ops(fuse_lowlevel_ops& ops);
void add_directory_ops(fuse_lowlevel_ops& ops);
void add_xattr_ops(fuse_lowlevel_ops& ops);

}  // namespace cairn::client::fuse
