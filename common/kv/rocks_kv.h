// RocksKv: the Kv of the daemons, on RocksDB. The only door to RocksDB.
//
// Promises: write() is atomic. There is no write-ahead log: after a crash the tables are as they
//           were after some write() that is not older than the last flush() (one column family, so
//           never a mixture). When flush() or checkpoint() returns, the bytes are on the disk.
//           Checksums are verified on every read.
// Requires: get(), scan(), checkpoint() and stats() from any thread; one write() at a time, one
//           flush() at
//           a time, but a flush() may run on another thread beside reads and writes (the chunk
//           server's
//           checkpoint does): it covers at least what was written before it began.
//           `dir` belongs to this object alone while it is open (RocksDB locks it).
// Limits:   two write buffers, one block cache that also holds index and filter blocks, 256 open
//           files, two background jobs.
// Errors:   kCorrupt, kDiskFailed, kNoSpace, kBusy (another process has it open). After an error of
//           write() or flush() the object refuses writes: close it and open it again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "common/base/units.h"
#include "common/kv/kv.h"

namespace cairn::kv {

class RocksKv final : public Kv {
 public:
  struct Options {
    ByteCount block_cache_bytes = 32_MiB;
    ByteCount write_buffer_bytes = 8_MiB;
    // False: open() of a directory without tables answers kNotFound.
    bool create = true;
  };
  struct Stats {
    ByteCount block_cache_bytes = 0;
    ByteCount memtable_bytes = 0;
    ByteCount table_reader_bytes = 0;
    ByteCount live_table_bytes = 0;  // on disk
    std::uint64_t keys_estimated = 0;
  };

  static Result<std::unique_ptr<RocksKv>> open(const std::filesystem::path& dir, Options options);
  static Result<std::unique_ptr<RocksKv>> open(const std::filesystem::path& dir) {
    return open(dir, Options());
  }
  RocksKv(const RocksKv&) = delete;
  RocksKv& operator=(const RocksKv&) = delete;
  // Flushes what was not flushed, as far as the disk lets it.
  ~RocksKv() override;

  Result<std::optional<std::string>> get(std::string_view key) const override;
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override;
  Status write(const Batch& batch) override;
  Status flush() override;

  // A copy of the present state that can be opened by itself: hard links where possible. `dir` must
  // not exist, its parent must.
  Status checkpoint(const std::filesystem::path& dir);
  Stats stats() const;

 private:
  struct Impl;
  explicit RocksKv(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::kv
