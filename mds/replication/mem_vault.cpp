#include "mds/replication/mem_vault.h"

#include <algorithm>

#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "common/runtime/completion.h"
#include "mds/replication/snapshot_rules.h"
#include "mds/state/machine.h"

namespace cairn::mds::replication {
namespace {

constexpr Duration kKeepSnapshot = 1min;
// All rows in one file, each as two lengths, key and value.
constexpr std::string_view kFileName = "000001.sst";
constexpr std::size_t kRowHeaderBytes = 8;

std::string encode_rows(const kv::Reader& reader) {
  std::string bytes;
  const Status scanned = reader.scan({}, {}, [&](std::string_view key, std::string_view value) {
    std::byte header[kRowHeaderBytes];
    store_le(header, static_cast<std::uint32_t>(key.size()));
    store_le(header + 4, static_cast<std::uint32_t>(value.size()));
    bytes.append(as_text(header)).append(key).append(value);
    return true;
  });
  CHECK(scanned.has_value());
  return bytes;
}

Result<kv::Batch> decode_rows(std::string_view bytes) {
  kv::Batch batch;
  while (!bytes.empty()) {
    if (bytes.size() < kRowHeaderBytes) return fail(Code::kCorrupt, "a torn row");
    const auto key = load_le<std::uint32_t>(as_bytes(bytes).data());
    const auto value = load_le<std::uint32_t>(as_bytes(bytes).data() + 4);
    bytes.remove_prefix(kRowHeaderBytes);
    if (bytes.size() < std::uint64_t{key} + value) return fail(Code::kCorrupt, "a torn row");
    batch.put(std::string(bytes.substr(0, key)), std::string(bytes.substr(key, value)));
    bytes.remove_prefix(std::size_t{key} + value);
  }
  return batch;
}

}  // namespace

MemVault::MemVault(runtime::Runtime& runtime, Duration latency)
    : runtime_(&runtime), latency_(latency), kv_(std::make_unique<kv::MemKv>()) {}

void MemVault::attach(runtime::Runtime& runtime) {
  runtime_ = &runtime;
  stopping_ = false;
}

void MemVault::crash() {
  ++life_;
  running_ = 0;
  kv_->crash();
  served_.reset();
}

void MemVault::wipe() {
  kv_ = std::make_unique<kv::MemKv>();
  served_.reset();
  incoming_.reset();
}

Task<Status> MemVault::pause() {
  ++running_;
  runtime::Completion<Status> done(*runtime_);
  runtime_->schedule(runtime_->now() + latency_, [this, life = life_, done]() mutable {
    if (life != life_) return;
    done.set(stopping_ ? Status(fail(Code::kCancelled, "stopping")) : Status());
  });
  Status status = co_await done.wait();
  --running_;
  co_return status;
}

Task<Status> MemVault::flush() {
  Status paused = co_await pause();
  if (!paused.has_value()) co_return paused;
  if (failed_) co_return fail(Code::kDiskFailed, "the tables' disk failed");
  ++flushes_;
  co_return kv_->flush();
}

Task<Result<std::uint32_t>> MemVault::digest() {
  const std::unique_ptr<kv::Reader> view = kv_->view();
  const Status paused = co_await pause();
  if (!paused.has_value()) co_return fail(paused.error());
  co_return state::Machine::digest(*view);
}

Task<Result<Snapshot>> MemVault::open_snapshot(std::uint64_t resume) {
  const Status paused = co_await pause();
  if (!paused.has_value()) co_return fail(paused.error());
  if (busy_ > 0) {
    --busy_;
    co_return fail(Code::kBusy, "the snapshot is being made");
  }
  const Instant now = runtime_->now();
  const bool fits = served_.has_value() && now - served_->last_use < kKeepSnapshot &&
                    (served_->snapshot.id == resume || now - served_->made < kKeepSnapshot);
  if (!fits) make_snapshot();
  served_->last_use = now;
  co_return served_->snapshot;
}

void MemVault::make_snapshot() {
  const Result<TableFacts> facts = table_facts(*kv_);
  CHECK(facts.has_value());
  std::string bytes = encode_rows(*kv_);
  Snapshot snapshot{.id = std::max<std::uint64_t>(runtime_->random(), 1),
                    .applied = facts->applied,
                    .membership = facts->membership,
                    .files = {{.name = std::string(kFileName),
                               .bytes = bytes.size(),
                               .crc32c = crc32c(as_bytes(bytes))}}};
  served_ = Served{.snapshot = std::move(snapshot),
                   .bytes = std::move(bytes),
                   .made = runtime_->now(),
                   .last_use = runtime_->now()};
}

Task<Result<std::string>> MemVault::read_snapshot(std::uint64_t id, std::uint32_t file,
                                                  ByteCount offset, ByteCount bytes) {
  const Status paused = co_await pause();
  if (!paused.has_value()) co_return fail(paused.error());
  const Instant now = runtime_->now();
  if (!served_.has_value() || served_->snapshot.id != id ||
      now - served_->last_use >= kKeepSnapshot) {
    co_return fail(Code::kNotFound, "there is no such snapshot any more");
  }
  if (file != 0 || offset > served_->bytes.size()) {
    co_return fail(Code::kInvalidArgument, "a read past the end of a snapshot");
  }
  served_->last_use = now;
  co_return served_->bytes.substr(offset, std::min(bytes, limits::kSnapshotPartBytes));
}

Task<Result<std::vector<ByteCount>>> MemVault::begin_incoming(Snapshot snapshot) {
  const Status paused = co_await pause();
  if (!paused.has_value()) co_return fail(paused.error());
  const Status checked = check_snapshot(snapshot);
  if (!checked.has_value()) co_return fail(checked.error());
  if (!incoming_.has_value() || incoming_->snapshot != snapshot) {
    incoming_.reset();
    if (total_bytes(snapshot) > free_bytes_) {
      co_return fail(Code::kNoSpace, "a snapshot needs more than is free");
    }
    const std::size_t files = snapshot.files.size();
    incoming_ = Incoming{.snapshot = std::move(snapshot), .files = {}};
    incoming_->files.resize(files);
  }
  std::vector<ByteCount> here;
  for (const std::string& file : incoming_->files) here.push_back(file.size());
  co_return here;
}

Task<Status> MemVault::write_incoming(std::uint32_t file, ByteCount offset, std::string bytes) {
  Status paused = co_await pause();
  if (!paused.has_value()) co_return paused;
  if (!incoming_.has_value() || file >= incoming_->files.size() ||
      offset != incoming_->files[file].size() ||
      bytes.size() > incoming_->snapshot.files[file].bytes - offset) {
    co_return fail(Code::kInvalidArgument, "a part of a snapshot that does not fit what is here");
  }
  incoming_->files[file] += bytes;
  co_return Status();
}

std::uint64_t MemVault::incoming_id() const {
  return incoming_.has_value() ? incoming_->snapshot.id : 0;
}

Task<Status> MemVault::install_incoming() {
  Status paused = co_await pause();
  if (!paused.has_value()) co_return paused;
  if (failed_) co_return fail(Code::kDiskFailed, "the tables' disk failed");
  if (!incoming_.has_value()) co_return fail(Code::kNotFound, "no snapshot is coming in");
  for (std::size_t i = 0; i < incoming_->files.size(); ++i) {
    if (incoming_->files[i].size() != incoming_->snapshot.files[i].bytes) {
      co_return fail(Code::kInvalidArgument, "the incoming snapshot is not complete");
    }
  }
  Status installed = install();
  incoming_.reset();
  co_return installed;
}

Status MemVault::install() {
  auto fresh = std::make_unique<kv::MemKv>();
  for (std::size_t i = 0; i < incoming_->files.size(); ++i) {
    const std::string& bytes = incoming_->files[i];
    if (crc32c(as_bytes(bytes)) != incoming_->snapshot.files[i].crc32c) {
      return fail(Code::kCorrupt, "the incoming snapshot has a wrong checksum");
    }
    TRY(const kv::Batch rows, decode_rows(bytes));
    TRY_VOID(fresh->write(rows));
  }
  TRY(const TableFacts facts, table_facts(*fresh));
  if (facts != TableFacts{incoming_->snapshot.applied, incoming_->snapshot.membership}) {
    return fail(Code::kCorrupt, "the incoming tables are of another slot than was said");
  }
  TRY(const TableFacts present, table_facts(*kv_));
  if (facts.applied < present.applied) {
    return fail(Code::kRefusedForSafety, "the incoming tables are older than those here");
  }
  TRY_VOID(fresh->flush());
  kv_ = std::move(fresh);
  ++installs_;
  return {};
}

bool MemVault::damage_incoming() {
  if (!incoming_.has_value()) return false;
  for (std::string& file : incoming_->files) {
    if (file.empty()) continue;
    file.back() = static_cast<char>(file.back() ^ 1);
    return true;
  }
  return false;
}

Task<void> MemVault::stop() {
  stopping_ = true;
  // Whatever is under way ends within the latency.
  while (running_ > 0) co_await runtime::sleep_for(*runtime_, std::max<Duration>(latency_, 1ms));
}

}  // namespace cairn::mds::replication
