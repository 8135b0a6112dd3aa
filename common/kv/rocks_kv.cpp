#include "common/kv/rocks_kv.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "common/base/check.h"

namespace cairn::kv {
namespace {

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view view(const rocksdb::Slice& text) { return {text.data(), text.size()}; }

Error error_of(const rocksdb::Status& status, std::string_view doing) {
  std::string message = std::string(doing) + ": " + status.ToString();
  if (status.IsCorruption()) return Error(Code::kCorrupt, std::move(message));
  if (status.IsNoSpace()) return Error(Code::kNoSpace, std::move(message));
  if (status.IsBusy()) return Error(Code::kBusy, std::move(message));
  if (status.IsInvalidArgument()) return Error(Code::kInvalidArgument, std::move(message));
  if (status.IsNotSupported()) return Error(Code::kUnsupported, std::move(message));
  // Whatever else it is, the state of the disk is unknown: the caller fences it.
  return Error(Code::kDiskFailed, std::move(message));
}

Status status_of(const rocksdb::Status& status, std::string_view doing) {
  if (status.ok()) return {};
  return fail(error_of(status, doing));
}

rocksdb::CompressionType best_compression() {
  const std::vector<rocksdb::CompressionType> known = rocksdb::GetSupportedCompressions();
  const auto it = std::find(known.begin(), known.end(), rocksdb::kLZ4Compression);
  return it != known.end() ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
}

rocksdb::Options rocks_options(const RocksKv::Options& wanted,
                               const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::Options options;
  options.create_if_missing = wanted.create && !wanted.read_only;
  options.paranoid_checks = true;
  options.force_consistency_checks = true;
  options.write_buffer_size = wanted.write_buffer_bytes;
  options.max_write_buffer_number = wanted.large ? 4 : 2;
  options.max_background_jobs = 2;
  options.max_open_files = wanted.open_files_max;
  options.level_compaction_dynamic_level_bytes = true;
  options.target_file_size_base = std::max<ByteCount>(2 * wanted.write_buffer_bytes, 1_MiB);
  options.max_bytes_for_level_base = std::max<ByteCount>(8 * wanted.write_buffer_bytes, 4_MiB);
  options.bytes_per_sync = 1_MiB;
  options.compression = best_compression();
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = 1_MiB;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  // Index and filters count against the cache: the memory of a large store stays bounded.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.whole_key_filtering = true;
  if (wanted.large) {
    table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
    table.partition_filters = true;
    table.metadata_block_size = 4_KiB;
    table.pin_top_level_index_and_filter = true;
  }
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// RocksDB would start an empty database beside the tables of one whose CURRENT file was lost.
Status check_directory(const std::filesystem::path& dir) {
  std::error_code error;
  if (std::filesystem::exists(dir / "CURRENT", error)) return {};
  std::filesystem::directory_iterator it(dir, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    if (it->path().extension() != ".sst") continue;
    return fail(Code::kCorrupt, dir.string() + " has tables (" + it->path().filename().string() +
                                    ") but no file CURRENT: it is damaged, not empty");
  }
  return {};
}

// RocksDB syncs what is in its directories, not the entry of a new directory in its parent.
Status sync_parent(const std::filesystem::path& dir) {
  std::filesystem::path parent = std::filesystem::absolute(dir).lexically_normal();
  if (!parent.has_filename()) parent = parent.parent_path();  // "a/b/" is "a/b"
  parent = parent.parent_path();
  const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (synced) return {};
  return fail(Code::kDiskFailed, "syncing " + parent.string() + ": " + std::strerror(error));
}

Result<std::optional<std::string>> get_from(rocksdb::DB& db, const rocksdb::ReadOptions& options,
                                            std::string_view key) {
  std::string value;
  const rocksdb::Status status = db.Get(options, slice(key), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return fail(error_of(status, "reading " + db.GetName()));
  return std::optional<std::string>(std::move(value));
}

Status scan_in(rocksdb::DB& db, rocksdb::ReadOptions options, std::string_view begin,
               std::string_view end, const Reader::Visit& visit) {
  const rocksdb::Slice bound = slice(end);
  if (!end.empty()) options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  for (it->Seek(slice(begin)); it->Valid(); it->Next()) {
    if (!visit(view(it->key()), view(it->value()))) break;
  }
  return status_of(it->status(), "scanning " + db.GetName());
}

constexpr std::size_t kViewReadAhead = 1_MiB;

class View final : public Reader {
 public:
  View(rocksdb::DB& db, std::atomic<std::size_t>& views)
      : db_(db), views_(views), snapshot_(db.GetSnapshot()) {
    views_.fetch_add(1);
    options_.snapshot = snapshot_;
    options_.fill_cache = false;
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() override {
    db_.ReleaseSnapshot(snapshot_);
    views_.fetch_sub(1);
  }
  Result<std::optional<std::string>> get(std::string_view key) const override {
    return get_from(db_, options_, key);
  }
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override {
    rocksdb::ReadOptions options = options_;
    options.readahead_size = kViewReadAhead;
    return scan_in(db_, options, begin, end, visit);
  }

 private:
  rocksdb::DB& db_;
  std::atomic<std::size_t>& views_;
  const rocksdb::Snapshot* const snapshot_;
  rocksdb::ReadOptions options_;
};

}  // namespace

struct RocksKv::Impl {
  std::shared_ptr<rocksdb::Cache> cache;
  std::unique_ptr<rocksdb::DB> db;
  std::string dir;
  mutable std::atomic<std::size_t> views{0};

  ~Impl() { CHECK_EQ(views.load(), std::size_t{0}); }

  std::uint64_t property(const rocksdb::Slice& name) const {
    std::uint64_t value = 0;
    return db->GetIntProperty(name, &value) ? value : 0;
  }
};

RocksKv::RocksKv(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksKv::~RocksKv() = default;

Result<std::unique_ptr<RocksKv>> RocksKv::open(const std::filesystem::path& dir, Options options) {
  TRY_VOID(check_directory(dir));
  std::error_code error;
  const bool existed = std::filesystem::exists(dir / "CURRENT", error);
  if ((!options.create || options.read_only) && !existed) {
    return fail(Code::kNotFound, dir.string() + " holds no tables");
  }
  auto impl = std::make_unique<Impl>();
  impl->dir = dir.string();
  impl->cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  rocksdb::DB* db = nullptr;
  const rocksdb::Options wanted = rocks_options(options, impl->cache);
  const rocksdb::Status status = options.read_only
                                     ? rocksdb::DB::OpenForReadOnly(wanted, impl->dir, &db)
                                     : rocksdb::DB::Open(wanted, impl->dir, &db);
  if (!status.ok()) {
    const std::string text = status.ToString();
    if (status.IsIOError() && (text.find("While lock file") != std::string::npos ||
                               text.find("lock hold by current process") != std::string::npos)) {
      return fail(Code::kBusy, impl->dir + " is open in another process: " + text);
    }
    return fail(error_of(status, "opening " + impl->dir));
  }
  impl->db.reset(db);
  if (!existed) {
    TRY_VOID(sync_parent(dir));
  }
  return std::unique_ptr<RocksKv>(new RocksKv(std::move(impl)));
}

Result<std::optional<std::string>> RocksKv::get(std::string_view key) const {
  return get_from(*impl_->db, rocksdb::ReadOptions(), key);
}

Status RocksKv::scan(std::string_view begin, std::string_view end, const Visit& visit) const {
  return scan_in(*impl_->db, rocksdb::ReadOptions(), begin, end, visit);
}

std::unique_ptr<Reader> RocksKv::view() const {
  return std::make_unique<View>(*impl_->db, impl_->views);
}

Status RocksKv::write(const Batch& batch) {
  if (batch.empty()) return {};
  rocksdb::WriteBatch writes;
  for (const Change& change : batch.changes()) {
    const rocksdb::Status status = change.value.has_value()
                                       ? writes.Put(slice(change.key), slice(*change.value))
                                       : writes.Delete(slice(change.key));
    TRY_VOID(status_of(status, "writing " + impl_->dir));
  }
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return status_of(impl_->db->Write(options, &writes), "writing " + impl_->dir);
}

Status RocksKv::flush() {
  rocksdb::FlushOptions options;
  options.wait = true;
  // RocksDB syncs the table, its directory and the manifest before Flush returns.
  return status_of(impl_->db->Flush(options), "flushing " + impl_->dir);
}

Status RocksKv::checkpoint(const std::filesystem::path& dir) {
  rocksdb::Checkpoint* raw = nullptr;
  TRY_VOID(
      status_of(rocksdb::Checkpoint::Create(impl_->db.get(), &raw), "checkpoint of " + impl_->dir));
  const std::unique_ptr<rocksdb::Checkpoint> maker(raw);
  const std::string target = std::filesystem::absolute(dir).string();
  TRY_VOID(status_of(maker->CreateCheckpoint(target), "checkpoint of " + impl_->dir));
  return sync_parent(target);
}

RocksKv::Stats RocksKv::stats() const {
  return {
      .block_cache_bytes = impl_->cache->GetUsage(),
      .memtable_bytes = impl_->property(rocksdb::DB::Properties::kCurSizeAllMemTables),
      .table_reader_bytes = impl_->property(rocksdb::DB::Properties::kEstimateTableReadersMem),
      .live_table_bytes = impl_->property(rocksdb::DB::Properties::kLiveSstFilesSize),
      .keys_estimated = impl_->property(rocksdb::DB::Properties::kEstimateNumKeys),
  };
}

}  // namespace cairn::kv
