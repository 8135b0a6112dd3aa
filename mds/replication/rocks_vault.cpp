#include "mds/replication/rocks_vault.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/limits.h"
#include "mds/replication/snapshot_files.h"
#include "mds/state/machine.h"

namespace cairn::mds::replication {
namespace {

// A snapshot of large tables takes longer than a call should: the asker comes again.
constexpr Duration kSnapshotPatience = 2s;

}  // namespace

class RocksVault::ClosedKv final : public kv::Kv {
 public:
  Result<std::optional<std::string>> get(std::string_view) const override { return closed(); }
  Status scan(std::string_view, std::string_view, const Visit&) const override { return closed(); }
  Status write(const kv::Batch&) override { return closed(); }
  Status flush() override { return closed(); }

 private:
  static std::unexpected<Error> closed() {
    return fail(Code::kDiskFailed, "the tables are closed");
  }
};

class RocksVault::Use {
 public:
  enum Of { kVault, kTables };
  Use(RocksVault* vault, Of of) : vault_(vault), tables_(of == kTables ? 1 : 0) {
    ++vault_->running_;
    vault_->using_ += tables_;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    --vault_->running_;
    vault_->using_ -= tables_;
    vault_->ended_.notify_all();
  }

 private:
  RocksVault* vault_;
  std::size_t tables_;
};

kv::RocksKv::Options RocksVault::tables_options(ByteCount cache_bytes) {
  return {.block_cache_bytes = cache_bytes,
          .write_buffer_bytes = 32_MiB,
          .create = true,
          .read_only = false,
          .large = true,
          .open_files_max = 512};
}

RocksVault::RocksVault(runtime::Runtime& runtime, observe::Log& log, disk::Path repository,
                       Options options)
    : runtime_(runtime),
      log_(log),
      repository_(std::move(repository)),
      options_(std::move(options)),
      closed_(std::make_unique<ClosedKv>()),
      tasks_(runtime),
      serving_(runtime),
      receiving_(runtime),
      incoming_(
          repository_,
          options_.free_bytes ? options_.free_bytes
                              : [root = repository_] { return disk::free_bytes(root); },
          options_.reserve_bytes),
      ended_(runtime),
      flushes_(runtime),
      digesting_(runtime),
      files_(runtime) {}

RocksVault::~RocksVault() {
  CHECK_EQ(running_, std::size_t{0});
  if (drop_timer_ != 0) runtime_.cancel(drop_timer_);
}

Result<std::unique_ptr<RocksVault>> RocksVault::open(runtime::Runtime& runtime, observe::Log& log,
                                                     const disk::Path& repository,
                                                     Options options) {
  std::unique_ptr<RocksVault> vault(new RocksVault(runtime, log, repository, std::move(options)));
  TRY_VOID(vault->open_all());
  return vault;
}

Status RocksVault::open_all() {
  const bool interrupted = disk::exists(repository_ / "incoming" / "install");
  TRY_VOID(finish_swap(repository_, {}));
  TRY(tables_, kv::RocksKv::open(repository_ / "db", options_.tables));
  if (interrupted) log_.info("completed the replacement of the tables that was interrupted");
  TRY_VOID(drop_old_tables(repository_, {}));
  TRY_VOID(disk::remove_tree(snapshots()));
  TRY_VOID(incoming_.load());
  TRY(const Slot applied, state::Machine::applied_slot(*tables_));
  if (incoming_.snapshot().has_value() && incoming_.snapshot()->applied <= applied) {
    TRY_VOID(incoming_.discard());
  }
  note_incoming();
  return {};
}

kv::Kv& RocksVault::tables() {
  if (tables_ == nullptr) return *closed_;
  return *tables_;
}

std::optional<kv::RocksKv::Stats> RocksVault::stats() const {
  if (tables_ == nullptr) return std::nullopt;
  return tables_->stats();
}

Status RocksVault::refused() const {
  if (tables_ == nullptr && !replacing_) return fail(Code::kDiskFailed, "the tables are closed");
  return fail(Code::kCancelled, stopping_ ? "stopping" : "the tables are being replaced");
}

void RocksVault::note_incoming() {
  incoming_id_ = incoming_.snapshot().has_value() ? incoming_.snapshot()->id : 0;
}

Task<Status> RocksVault::flush() {
  if (!usable()) co_return refused();
  const Use use(this, Use::kTables);
  std::move_only_function<Status()> work = [tables = tables_.get()] { return tables->flush(); };
  Status flushed = co_await flushes_.run<Status>(std::move(work));
  co_return flushed;
}

Task<Result<std::uint32_t>> RocksVault::digest() {
  if (!usable()) co_return fail(refused().error());
  if (digests_ >= kDigestsMax) co_return fail(Code::kOverloaded, "too many digests at a time");
  const Use use(this, Use::kTables);
  ++digests_;
  std::move_only_function<Result<std::uint32_t>()> work = [view = tables_->view(),
                                                           stop = &yielding_]() mutable {
    Result<std::uint32_t> digest = digest_of(*view, *stop);
    view.reset();  // before anybody may close the tables
    return digest;
  };
  Result<std::uint32_t> digest = co_await digesting_.run<Result<std::uint32_t>>(std::move(work));
  --digests_;
  co_return digest;
}

// ---- for others ----

Task<Result<Snapshot>> RocksVault::open_snapshot(std::uint64_t resume) {
  const Use use(this, Use::kVault);
  const Deadline patience = runtime_.after(kSnapshotPatience);
  for (bool asked = false;; asked = true) {
    runtime::Semaphore::Permit guard = co_await serving_.lock_until(patience);
    if (!guard.held()) co_return fail(Code::kBusy, "the snapshot is being made");
    if (!usable()) co_return fail(refused().error());
    const Instant now = runtime_.now();
    if (served_.has_value() &&
        (served_->snapshot.id == resume || now - served_->made < options_.keep_snapshot)) {
      served_->last_use = now;
      co_return served_->snapshot;
    }
    if (asked) co_return fail(Code::kUnavailable, "no snapshot could be made");
    tasks_.spawn(make_served(this, std::move(guard)));
  }
}

Task<void> RocksVault::make_served(RocksVault* self, runtime::Semaphore::Permit guard) {
  co_await self->drop_served();
  const Status made = co_await self->make_snapshot();
  if (!made.has_value())
    self->log_.error("no snapshot of the tables: {}", made.error().to_string());
  guard.release();
}

Task<Status> RocksVault::make_snapshot() {
  if (!usable()) co_return refused();
  const Use use(this, Use::kTables);
  const std::uint64_t id = std::max<std::uint64_t>(runtime_.random(), 1);
  const disk::Path directory = snapshots() / fmt::format("{:016x}", id);
  std::move_only_function<Result<Snapshot>()> work = [tables = tables_.get(), directory, id,
                                                      stop = &yielding_] {
    return replication::make_snapshot(*tables, directory, id, *stop);
  };
  Result<Snapshot> made = co_await files_.run<Result<Snapshot>>(std::move(work));
  if (!made.has_value()) co_return fail(made.error());
  const Instant now = runtime_.now();
  served_ =
      Served{.snapshot = std::move(*made), .directory = directory, .made = now, .last_use = now};
  arm_drop_timer();
  co_return Status();
}

Task<Result<std::string>> RocksVault::read_snapshot(std::uint64_t id, std::uint32_t file,
                                                    ByteCount offset, ByteCount bytes) {
  if (stopping_) co_return fail(refused().error());
  if (!served_.has_value() || served_->snapshot.id != id) {
    co_return fail(Code::kNotFound, "there is no such snapshot any more");
  }
  const Served& served = *served_;
  if (file >= served.snapshot.files.size() || offset > served.snapshot.files[file].bytes) {
    co_return fail(Code::kInvalidArgument, "a read past the end of a snapshot");
  }
  const Use use(this, Use::kVault);
  served_->last_use = runtime_.now();
  const disk::Path path = served.directory / served.snapshot.files[file].name;
  const ByteCount wanted =
      std::min({bytes, limits::kSnapshotPartBytes, served.snapshot.files[file].bytes - offset});
  std::move_only_function<Result<std::string>()> work = [path, offset, wanted] {
    return disk::read_at(path, offset, wanted);
  };
  Result<std::string> part = co_await files_.run<Result<std::string>>(std::move(work));
  co_return part;
}

Task<void> RocksVault::drop_served() {
  if (!served_.has_value()) co_return;
  const disk::Path directory = served_->directory;
  served_.reset();
  std::move_only_function<Status()> work = [directory] { return disk::remove_tree(directory); };
  const Status removed = co_await files_.run<Status>(std::move(work));
  if (!removed.has_value()) {
    log_.warning("a snapshot for others stays on the disk: {}", removed.error().to_string());
  }
}

void RocksVault::arm_drop_timer() {
  if (drop_timer_ != 0) runtime_.cancel(drop_timer_);
  drop_timer_ = 0;
  if (!served_.has_value() || stopping_) return;
  drop_timer_ = runtime_.schedule(served_->last_use + options_.keep_snapshot, [this] {
    drop_timer_ = 0;
    tasks_.spawn(drop_when_idle(this));
  });
}

Task<void> RocksVault::drop_when_idle(RocksVault* self) {
  const runtime::Semaphore::Permit guard = co_await self->serving_.lock();
  const bool idle = self->served_.has_value() &&
                    self->runtime_.now() - self->served_->last_use >= self->options_.keep_snapshot;
  if (idle) co_await self->drop_served();
  self->arm_drop_timer();
}

// ---- from others ----

Task<Result<std::vector<ByteCount>>> RocksVault::begin_incoming(Snapshot snapshot) {
  const Use use(this, Use::kVault);
  const runtime::Semaphore::Permit guard = co_await receiving_.lock();
  if (!usable()) co_return fail(refused().error());
  using Here = Result<std::vector<ByteCount>>;
  std::move_only_function<Here()> work = [this, wanted = std::move(snapshot)] {
    return incoming_.begin(wanted);
  };
  Here here = co_await files_.run<Here>(std::move(work));
  note_incoming();
  co_return here;
}

Task<Status> RocksVault::write_incoming(std::uint32_t file, ByteCount offset, std::string bytes) {
  const Use use(this, Use::kVault);
  const runtime::Semaphore::Permit guard = co_await receiving_.lock();
  if (!usable()) co_return refused();
  std::move_only_function<Status()> work = [this, file, offset, part = std::move(bytes)] {
    Status written = incoming_.write(file, offset, part);
    if (!written.has_value() && written.error().code() == Code::kNoSpace) {
      // The tables and the log need what is left of the disk more than this.
      ignore(incoming_.discard(), "the lack of space is what the caller hears of");
    }
    return written;
  };
  Status written = co_await files_.run<Status>(std::move(work));
  note_incoming();
  co_return written;
}

Task<Status> RocksVault::install_incoming() {
  const Use use(this, Use::kVault);
  const runtime::Semaphore::Permit guard = co_await receiving_.lock();
  if (!usable()) co_return refused();
  Status verified = co_await verify_incoming();
  if (!verified.has_value()) {
    const Code code = verified.error().code();
    const bool useless =
        code == Code::kCorrupt || code == Code::kWrongCluster || code == Code::kRefusedForSafety;
    if (useless) {
      const Status forgotten = co_await forget_incoming();
      ignore(forgotten, "what is wrong with it is what the caller hears of");
    }
    co_return verified;
  }
  Status replaced = co_await replace_tables();
  co_return replaced;
}

Task<Status> RocksVault::verify_incoming() {
  std::move_only_function<Status()> work = [this]() -> Status {
    TRY_VOID(incoming_.verify(ending_));
    return judge_tables(incoming_.directory(), *incoming_.snapshot(), options_.cluster_id, ending_);
  };
  Status verified = co_await files_.run<Status>(std::move(work));
  if (!verified.has_value()) co_return verified;
  if (!usable()) co_return refused();
  const Result<Slot> applied = state::Machine::applied_slot(*tables_);
  if (!applied.has_value()) co_return fail(applied.error());
  if (incoming_.snapshot()->applied < *applied) {
    co_return fail(Code::kRefusedForSafety, "the incoming tables are older than those here");
  }
  co_return verified;
}

Task<Status> RocksVault::forget_incoming() {
  std::move_only_function<Status()> work = [this] { return incoming_.discard(); };
  Status discarded = co_await files_.run<Status>(std::move(work));
  note_incoming();
  co_return discarded;
}

Task<Status> RocksVault::replace_tables() {
  replacing_ = true;
  yielding_ = true;
  while (using_ > 0) co_await ended_.wait();
  if (stopping_) co_return refused();
  std::move_only_function<Status()> begin = [this] {
    return begin_swap(repository_, options_.swap_hook);
  };
  Status begun = co_await files_.run<Status>(std::move(begin));
  bool undone = false;
  if (!begun.has_value()) {
    // The mark may be on the disk or not: only when it surely is not, the old tables may live on.
    const Status forgotten = co_await forget_incoming();
    undone = forgotten.has_value();
  }
  Result<std::unique_ptr<kv::RocksKv>> opened = nullptr;
  if (begun.has_value()) {
    std::move_only_function<Result<std::unique_ptr<kv::RocksKv>>()> swap =
        [this, old = std::move(tables_)]() mutable { return swap_and_open(std::move(old)); };
    opened = co_await files_.run<Result<std::unique_ptr<kv::RocksKv>>>(std::move(swap));
    if (opened.has_value()) {
      tables_ = std::move(*opened);
      note_incoming();
    } else {
      begun = fail(Code::kDiskFailed, "replacing the tables: " + opened.error().to_string());
    }
  } else if (!undone) {
    tables_.reset();
    begun = fail(Code::kDiskFailed, "replacing the tables: " + begun.error().to_string());
  }
  replacing_ = false;
  yielding_ = stopping_;
  co_return begun;
}

Result<std::unique_ptr<kv::RocksKv>> RocksVault::swap_and_open(std::unique_ptr<kv::RocksKv> old) {
  old.reset();
  TRY_VOID(finish_swap(repository_, options_.swap_hook));
  kv::RocksKv::Options options = options_.tables;
  options.create = false;
  TRY(std::unique_ptr<kv::RocksKv> tables, kv::RocksKv::open(repository_ / "db", options));
  TRY_VOID(drop_old_tables(repository_, options_.swap_hook));
  TRY_VOID(incoming_.discard());
  return tables;
}

Task<void> RocksVault::stop() {
  stopping_ = true;
  ending_ = true;
  yielding_ = true;
  arm_drop_timer();
  while (running_ > 0) co_await ended_.wait();
  co_await tasks_.join();
  co_await drop_served();
}

}  // namespace cairn::mds::replication
