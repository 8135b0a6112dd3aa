#include "mds/state/machine.h"

#include <algorithm>

#include "common/base/crc32c.h"
#include "mds/state/client_mutation.h"
#include "mds/state/ops/ops.h"
#include "mds/state/tables.h"

namespace cairn::mds::state {
namespace {

Status execute(Tables& tables, const pb::Command& command, std::int64_t time_ns,
               pb::CommandReply& reply) {
  if (!tables.initialised() && command.op_case() != pb::Command::kInitCluster) {
    return fail(Code::kUnavailable, "there is no cluster yet");
  }
  switch (command.op_case()) {
    case pb::Command::kInitCluster:
      return ops::init_cluster(tables, command.init_cluster(), time_ns);
    case pb::Command::kClient:
      return client_mutation(tables, command.client(), time_ns, reply);
    case pb::Command::kGrantLease:
      return ops::grant_lease(tables, command.grant_lease(), reply);
    case pb::Command::kOpenSession:
      return ops::open_session(tables, command.open_session(), reply);
    case pb::Command::kEndSession:
      return ops::end_session(tables, command.end_session());
    case pb::Command::kAddCs:
      return ops::add_cs(tables, command.add_cs(), reply);
    case pb::Command::kUpdateCs:
      return ops::update_cs(tables, command.update_cs());
    case pb::Command::kSetPolicy:
      return ops::set_policy(tables, command.set_policy(), time_ns, reply);
    case pb::Command::kPurgeInode:
      return ops::purge_inode(tables, command.purge_inode(), reply);
    case pb::Command::kPiecesRemoved:
      return ops::pieces_removed(tables, command.pieces_removed());
    case pb::Command::kAddEvent:
      return ops::add_event(tables, command.add_event(), time_ns);
    case pb::Command::kBeginRecovery:
      return ops::begin_recovery(tables, command.begin_recovery(), reply);
    case pb::Command::kFinishRecovery:
      return ops::finish_recovery(tables, command.finish_recovery(), reply);
    case pb::Command::kPlacePiece:
      return ops::place_piece(tables, command.place_piece(), reply);
    case pb::Command::kFinishRepair:
      return ops::finish_repair(tables, command.finish_repair(), reply);
    case pb::Command::kSetConfig:
      return ops::set_config(tables, command.set_config());
    case pb::Command::kDigestMark:
      return {};
    case pb::Command::OP_NOT_SET:
      break;
  }
  return fail(Code::kUnsupported, "the command is empty or of a newer version");
}

struct AppliedRow {
  Slot slot;
  std::int64_t time_ns = 0;
};

std::string encode_row(const AppliedRow& row) {
  return keys::encode_number(row.slot.raw()) +
         keys::encode_number(static_cast<std::uint64_t>(row.time_ns));
}

Result<AppliedRow> applied_row(const kv::Reader& reader) {
  TRY(const std::optional<std::string> value, reader.get(keys::applied()));
  if (!value) return AppliedRow{};
  const std::string_view bytes = *value;
  if (bytes.size() != 2 * sizeof(std::uint64_t)) {
    return rows::corrupt(static_cast<char>(keys::Table::kApplied));
  }
  const std::optional<std::uint64_t> slot = keys::decode_number(bytes.substr(0, 8));
  const std::optional<std::uint64_t> time = keys::decode_number(bytes.substr(8));
  return AppliedRow{.slot = Slot(*slot), .time_ns = static_cast<std::int64_t>(*time)};
}

// The row before `slot`, which must be a later one.
Result<AppliedRow> next_row(Slot slot, const kv::Reader& reader) {
  TRY(const AppliedRow before, applied_row(reader));
  if (slot > before.slot) return before;
  return fail(Code::kInternal, "slot " + std::to_string(slot.raw()) + " was applied before (" +
                                   std::to_string(before.slot.raw()) + ")");
}

std::uint32_t crc_of_text(std::string_view text, std::uint32_t seed) {
  const std::string size = keys::encode_number(text.size());
  return crc32c(as_bytes(text), crc32c(as_bytes(size), seed));
}

}  // namespace

Result<Applied> Machine::apply(Slot slot, const pb::Command& command, const kv::Reader& reader) {
  TRY(const AppliedRow before, next_row(slot, reader));
  Tables tables(reader);
  TRY_VOID(tables.load());
  const std::int64_t time_ns = std::max(before.time_ns, command.time_ns());
  Applied applied;
  const Status done = execute(tables, command, time_ns, applied.reply);
  if (tables.failure()) return fail(*tables.failure());
  if (!done) {
    tables.discard();
    applied.reply.Clear();
    pb::ErrorDetail& error = *applied.reply.mutable_error();
    error.set_code(static_cast<std::uint32_t>(done.error().code()));
    error.set_message(done.error().message());
  }
  tables.put_bytes(keys::applied(), encode_row({.slot = slot, .time_ns = time_ns}));
  applied.changes = tables.take();
  return applied;
}

Result<Applied> Machine::apply_noop(Slot slot, const kv::Reader& reader) {
  TRY(const AppliedRow before, next_row(slot, reader));
  Applied applied;
  applied.changes.put(keys::applied(), encode_row({.slot = slot, .time_ns = before.time_ns}));
  return applied;
}

Result<Applied> Machine::apply_group(Slot slot, std::string_view membership,
                                     const kv::Reader& reader) {
  TRY(Applied applied, apply_noop(slot, reader));
  applied.changes.put(keys::group(), std::string(membership));
  return applied;
}

Result<Slot> Machine::applied_slot(const kv::Reader& reader) {
  TRY(const AppliedRow row, applied_row(reader));
  return row.slot;
}

Result<std::string> Machine::group(const kv::Reader& reader) {
  TRY(std::optional<std::string> value, reader.get(keys::group()));
  return std::move(value).value_or(std::string());
}

Result<std::uint32_t> Machine::digest(const kv::Reader& reader) {
  std::uint32_t crc = 0;
  TRY_VOID(reader.scan({}, {}, [&](std::string_view key, std::string_view value) {
    crc = crc_of_text(value, crc_of_text(key, crc));
    return true;
  }));
  return crc;
}

}  // namespace cairn::mds::state
