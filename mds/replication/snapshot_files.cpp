#include "mds/replication/snapshot_files.h"

#include <algorithm>

#include "mds/replication/snapshot_rules.h"
#include "mds/state/machine.h"

namespace cairn::mds::replication {
namespace {

constexpr ByteCount kJudgeCacheBytes = 8_MiB;

Result<std::unique_ptr<kv::RocksKv>> open_to_look(const disk::Path& directory) {
  kv::RocksKv::Options options;
  options.block_cache_bytes = kJudgeCacheBytes;
  options.read_only = true;
  return kv::RocksKv::open(directory, options);
}

// RocksDB writes a text log and takes a lock beside the tables, which are nobody else's business.
bool is_bystander(std::string_view name) {
  return name.starts_with("LOG") || name == "LOCK" || name == "IDENTITY";
}

Result<std::vector<SnapshotFile>> list_files(const disk::Path& directory,
                                             const std::atomic<bool>& stop) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator it(directory, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::string name = it->path().filename().string();
    if (is_bystander(name)) continue;
    if (!is_table_file(name)) {
      return fail(Code::kInternal, "a checkpoint has a file of unknown kind: " + name);
    }
    names.push_back(std::move(name));
  }
  if (error) {
    return fail(Code::kDiskFailed, "cannot list " + directory.string() + ": " + error.message());
  }
  std::sort(names.begin(), names.end());
  std::vector<SnapshotFile> files;
  for (std::string& name : names) {
    TRY(const ByteCount bytes, disk::size_of(directory / name));
    TRY(const std::uint32_t crc, disk::crc_of(directory / name, bytes, stop));
    files.push_back({.name = std::move(name), .bytes = bytes, .crc32c = crc});
  }
  return files;
}

Result<Snapshot> fill_snapshot(kv::RocksKv& tables, const disk::Path& to, std::uint64_t id,
                               const std::atomic<bool>& stop) {
  TRY_VOID(tables.checkpoint(to));
  Snapshot snapshot{.id = id, .applied = Slot(), .membership = {}, .files = {}};
  TRY(snapshot.files, list_files(to, stop));
  TRY(const std::unique_ptr<kv::RocksKv> copy, open_to_look(to));
  TRY(TableFacts facts, table_facts(*copy));
  snapshot.applied = facts.applied;
  snapshot.membership = std::move(facts.membership);
  TRY_VOID(check_snapshot(snapshot));
  return snapshot;
}

// Ends a scan early when somebody wants it to.
class InterruptibleReader final : public kv::Reader {
 public:
  InterruptibleReader(const kv::Reader& base, const std::atomic<bool>& stop)
      : base_(base), stop_(stop) {}
  Result<std::optional<std::string>> get(std::string_view key) const override {
    return base_.get(key);
  }
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override {
    bool stopped = false;
    TRY_VOID(base_.scan(begin, end, [&](std::string_view key, std::string_view value) {
      stopped = stop_.load(std::memory_order_relaxed);
      return !stopped && visit(key, value);
    }));
    return stopped ? Status(fail(Code::kCancelled, "stopping")) : Status();
  }

 private:
  const kv::Reader& base_;
  const std::atomic<bool>& stop_;
};

Status judge_open_tables(const kv::RocksKv& tables, const Snapshot& snapshot, ClusterId cluster,
                         const std::atomic<bool>& stop) {
  TRY(const TableFacts facts, table_facts(tables));
  if (facts != TableFacts{.applied = snapshot.applied, .membership = snapshot.membership}) {
    return fail(Code::kCorrupt, "the incoming tables are of another slot than was said");
  }
  if (cluster.valid()) {
    const Result<pb::ClusterRecord> record = state::queries::cluster(tables);
    if (record.has_value() && record->cluster_id() != cluster.raw()) {
      return fail(Code::kWrongCluster, "the incoming tables are of another cluster");
    }
  }
  const std::unique_ptr<kv::Reader> view = tables.view();
  return InterruptibleReader(*view, stop).scan({}, {}, [](std::string_view, std::string_view) {
    return true;
  });
}

}  // namespace

Result<Snapshot> make_snapshot(kv::RocksKv& tables, const disk::Path& to, std::uint64_t id,
                               const std::atomic<bool>& stop) {
  TRY_VOID(disk::make_directory(to.parent_path()));
  Result<Snapshot> snapshot = fill_snapshot(tables, to, id, stop);
  if (!snapshot.has_value()) ignore(disk::remove_tree(to), "the next life removes what is left");
  return snapshot;
}

Status judge_tables(const disk::Path& directory, const Snapshot& snapshot, ClusterId cluster,
                    const std::atomic<bool>& stop) {
  Status judged;
  {
    const Result<std::unique_ptr<kv::RocksKv>> tables = open_to_look(directory);
    judged = tables.has_value() ? judge_open_tables(**tables, snapshot, cluster, stop)
                                : Status(fail(tables.error()));
  }
  if (judged.has_value()) return judged;
  const Code code = judged.error().code();
  if (code == Code::kWrongCluster || code == Code::kCancelled) return judged;
  // The bytes are those that were sent, so whatever is wrong with them came from there.
  return fail(Code::kCorrupt, judged.error().message());
}

Result<std::uint32_t> digest_of(const kv::Reader& view, const std::atomic<bool>& stop) {
  const InterruptibleReader reader(view, stop);
  return state::Machine::digest(reader);
}

}  // namespace cairn::mds::replication
