// Small blocking file operations with errors that name the file. For helper threads and start-up.
//
// Errors: kNotFound (no such file), kNoSpace, kDiskFailed (everything else).
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::mds::replication::disk {

using Path = std::filesystem::path;

bool exists(const Path& path);
Result<ByteCount> size_of(const Path& path);
// Of the filesystem, for this user.
Result<ByteCount> free_bytes(const Path& directory);

// Durable when they return. make_directory() of one that exists is fine; remove_tree() of none too.
Status make_directory(const Path& directory);
Status rename(const Path& from, const Path& to);
Status remove_file(const Path& file);
Status remove_tree(const Path& tree);
Status sync_directory(const Path& directory);
// The whole file: the old content or the new one, whatever happens.
Status write_whole(const Path& file, std::string_view bytes);

// An empty file, not yet durable.
Status create_empty(const Path& file);
Result<std::string> read_whole(const Path& file, ByteCount bytes_max);
// Exactly `bytes`; a shorter file is kCorrupt.
Result<std::string> read_at(const Path& file, ByteCount offset, ByteCount bytes);
// With `sync`, everything written to the file before is durable when it returns.
Status write_at(const Path& file, ByteCount offset, std::string_view bytes, bool sync);
Status sync_file(const Path& file);
// CRC32C of the first `bytes` bytes; kCorrupt when the file has not exactly so many, kCancelled
// when `stop` turns true.
Result<std::uint32_t> crc_of(const Path& file, ByteCount bytes, const std::atomic<bool>& stop);

}  // namespace cairn::mds::replication::disk
