#include "mds/replication/applier.h"

#include "common/base/limits.h"
#include "common/kv/overlay.h"
#include "mds/state/machine.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::replication {

Applier::Applier(runtime::Runtime& runtime, observe::Log& log, kv::Kv& tables, LogStore& store,
                 Options options)
    : runtime_(runtime),
      log_(log),
      tables_(tables),
      store_(store),
      options_(std::move(options)),
      tasks_(runtime) {}

Status Applier::replay() {
  TRY(applied_, state::Machine::applied_slot(tables_));
  if (store_.last_slot() < applied_) {
    return fail(Code::kCorrupt,
                fmt::format("the tables have slot {}, but the log ends with slot {}: is this log "
                            "of another repository?",
                            applied_.raw(), store_.last_slot().raw()));
  }
  if (store_.last_slot() == applied_) return {};
  const Slot from = applied_.next();
  std::vector<Entry> batch;
  const EntryVisitor visit = [this, &batch](Slot slot, std::string_view bytes) -> Status {
    batch.push_back(Entry{.slot = slot, .bytes = std::string(bytes)});
    if (batch.size() < limits::kLogBatchCommandsMax) return {};
    TRY_VOID(apply(batch));
    batch.clear();
    return {};
  };
  TRY_VOID(store_.read_from(from, visit));
  if (!batch.empty()) {
    TRY_VOID(apply(batch));
  }
  log_.info("replayed slots {} to {} of the log", from.raw(), applied_.raw());
  return {};
}

Result<std::vector<std::string>> Applier::apply(const std::vector<Entry>& batch) {
  kv::Overlay overlay(tables_);
  std::vector<std::string> answers;
  answers.reserve(batch.size());
  for (const Entry& entry : batch) {
    if (entry.slot != applied_.next()) {
      return fail(Code::kCorrupt,
                  fmt::format("slot {} follows slot {}", entry.slot.raw(), applied_.raw()));
    }
    pb::Command command;
    if (!command.ParseFromString(entry.bytes)) {
      return fail(Code::kCorrupt, fmt::format("slot {} holds no command", entry.slot.raw()));
    }
    TRY(const state::Applied applied, state::Machine::apply(entry.slot, command, overlay));
    overlay.add(applied.changes);
    answers.push_back(applied.reply.SerializeAsString());
    applied_ = entry.slot;
    since_flush_ += entry.bytes.size() + kRecordHeaderBytes;
  }
  TRY_VOID(tables_.write(overlay.take()));
  if (since_flush_ >= options_.flush_every_bytes && tasks_.running() == 0) {
    since_flush_ = 0;
    tasks_.spawn(flush_and_cut());
  }
  return answers;
}

Task<Status> Applier::flush_once() {
  // Writes that arrive meanwhile may or may not be in: only what was there before counts.
  const Slot durable = applied_;
  Status flushed;
  if (options_.flush) {
    flushed = co_await options_.flush();
  } else {
    flushed = tables_.flush();
  }
  if (!flushed.has_value()) co_return flushed;
  Status cut = co_await store_.truncate_before(durable.next());
  co_return cut;
}

Task<void> Applier::flush_and_cut() {
  co_await runtime::yield_turn(runtime_);
  const Status status = co_await flush_once();
  if (!status.has_value()) {
    // The log still has everything; the next write of the tables will meet the same error.
    log_.error("cannot flush the tables: {}", status.error().to_string());
  }
}

Task<Status> Applier::stop() {
  co_await tasks_.join();
  Status status = co_await flush_once();
  co_return status;
}

}  // namespace cairn::mds::replication
