// RocksKv: the Kv of the daemons, on RocksDB. The only door to RocksDB.
//
// Promises: write() is atomic. There is no write-ahead log: after a crash the tables are as they
//           were after some write() that is not older than the last flush() (one column family, so
//           never a mixture). When flush() or checkpoint() returns, the bytes are on the disk.
//           Checksums are verified on every read.
// Requires: get(), scan(), view(), checkpoint() and stats() from any thread; one write() at a time,
//           one flush() at a time, but a flush() may run on another thread beside reads and writes:
//           it covers at least what was written before it began. Views die before the store.
//           `dir` belongs to this object alone while it is open (RocksDB locks it).
// Limits:   two write buffers (four: Options::large), one block cache that also holds index and
//           filter blocks, Options::open_files_max files, two background jobs.
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
    // Changes nothing in `dir`; write() and flush() fail. Implies !create.
    bool read_only = false;
    // For tables whose filters together may outgrow the cache (index and filters are then cached in
    // parts), and whose writer must not wait for a flush (four write buffers).
    bool large = false;
    int open_files_max = 256;
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

  // The present state for as long as the view lives, also on another thread. Made at once; keeps
  // old versions on disk meanwhile, and what it reads does not push anything out of the cache.
  std::unique_ptr<Reader> view() const;
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
