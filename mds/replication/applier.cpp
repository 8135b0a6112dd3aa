#include "mds/replication/applier.h"

#include <utility>

#include "common/kv/overlay.h"
#include "mds/state/machine.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::replication {

namespace {
// What a row of a small command costs beyond its bytes: a bound for the log, not an account.
constexpr ByteCount kSlotBytes = 64;
}  // namespace

Applier::Applier(runtime::Runtime& runtime, observe::Log& log, TableVault& vault, LogStore& store,
                 Options options, OnMark on_mark)
    : runtime_(runtime),
      log_(log),
      vault_(vault),
      store_(store),
      options_(options),
      on_mark_(std::move(on_mark)),
      tasks_(runtime) {}

Status Applier::open() {
  TRY(applied_, state::Machine::applied_slot(vault_.tables()));
  return {};
}

Result<paxos::Membership> Applier::membership() const {
  TRY(const std::string bytes, state::Machine::group(vault_.tables()));
  if (bytes.empty()) return paxos::Membership();
  std::optional<paxos::Membership> membership = paxos::decode_membership(bytes);
  if (!membership.has_value()) {
    return fail(Code::kCorrupt, "the tables hold no valid list of the members of the group");
  }
  return std::move(*membership);
}

Status Applier::apply_one(const paxos::Chosen& chosen, kv::Batch* changes, std::string* answer,
                          const kv::Reader& reader) {
  switch (chosen.value.kind) {
    case paxos::ValueKind::kNoop: {
      TRY(state::Applied applied, state::Machine::apply_noop(chosen.slot, reader));
      *changes = std::move(applied.changes);
      return {};
    }
    case paxos::ValueKind::kMembership: {
      TRY(state::Applied applied,
          state::Machine::apply_group(chosen.slot, *chosen.value.bytes, reader));
      *changes = std::move(applied.changes);
      return {};
    }
    case paxos::ValueKind::kCommand:
      break;
  }
  pb::Command command;
  if (!command.ParseFromString(*chosen.value.bytes)) {
    return fail(Code::kCorrupt, fmt::format("slot {} holds no command", chosen.slot.raw()));
  }
  TRY(state::Applied applied, state::Machine::apply(chosen.slot, command, reader));
  *changes = std::move(applied.changes);
  *answer = applied.reply.SerializeAsString();
  if (command.has_digest_mark()) mark_ = command.digest_mark().mark();
  ++commands_;
  return {};
}

Result<std::vector<std::string>> Applier::apply(const std::vector<paxos::Chosen>& batch) {
  CHECK(!paused_);
  std::vector<std::string> answers;
  answers.reserve(batch.size());
  std::size_t next = 0;
  while (next < batch.size()) {
    kv::Overlay overlay(vault_.tables());
    mark_ = 0;
    for (; next < batch.size() && mark_ == 0; ++next) {
      const paxos::Chosen& chosen = batch[next];
      if (chosen.slot != applied_.next()) {
        return fail(Code::kCorrupt,
                    fmt::format("slot {} follows slot {}", chosen.slot.raw(), applied_.raw()));
      }
      kv::Batch changes;
      std::string answer;
      TRY_VOID(apply_one(chosen, &changes, &answer, overlay));
      overlay.add(changes);
      answers.push_back(std::move(answer));
      applied_ = chosen.slot;
      since_flush_ += chosen.value.bytes->size() + kSlotBytes;
    }
    TRY_VOID(vault_.tables().write(overlay.take()));
    if (mark_ != 0) on_mark_(mark_, applied_);
  }
  if (since_flush_ >= options_.flush_every_bytes && tasks_.running() == 0) {
    since_flush_ = 0;
    tasks_.spawn(flush_and_cut(this));
  }
  return answers;
}

Task<Status> Applier::flush_once() {
  // Writes that arrive meanwhile may or may not be in: only what was there before counts.
  const Slot durable = applied_;
  const Status flushed = co_await vault_.flush();
  if (!flushed.has_value()) co_return flushed;
  if (durable.raw() <= options_.keep_slots) co_return Status();
  const Slot cut(durable.raw() - options_.keep_slots);
  Status status = co_await store_.truncate_before(cut);
  co_return status;
}

Task<void> Applier::flush_and_cut(Applier* self) {
  co_await runtime::yield_turn(self->runtime_);
  const Status status = co_await self->flush_once();
  if (!status.has_value()) {
    // The log still has everything; the next write of the tables will meet the same error.
    self->log_.error("cannot flush the tables: {}", status.error().to_string());
  }
}

Task<void> Applier::pause() {
  paused_ = true;
  co_await tasks_.join();
}

Status Applier::resume() {
  paused_ = false;
  since_flush_ = 0;
  return open();
}

Task<Status> Applier::stop() {
  co_await tasks_.join();
  Status status = co_await flush_once();
  co_return status;
}

}  // namespace cairn::mds::replication
