#include "mds/state/machine.h"

#include "common/base/crc32c.h"
#include "mds/state/client_mutation.h"
#include "mds/state/ops/ops.h"
#include "mds/state/tables.h"

namespace cairn::mds::state {
namespace {

Status execute(Tables& tables, const pb::Command& command, pb::CommandReply& reply) {
  if (!tables.initialised() && command.op_case() != pb::Command::kInitCluster) {
    return fail(Code::kUnavailable, "there is no cluster yet");
  }
  switch (command.op_case()) {
    case pb::Command::kInitCluster:
      return ops::init_cluster(tables, command.init_cluster(), command.time_ns());
    case pb::Command::kClient:
      return client_mutation(tables, command.client(), command.time_ns(), reply);
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
      return ops::set_policy(tables, command.set_policy(), reply);
    case pb::Command::kPurgeInode:
      return ops::purge_inode(tables, command.purge_inode(), reply);
    case pb::Command::kPiecesRemoved:
      return ops::pieces_removed(tables, command.pieces_removed());
    case pb::Command::kAddEvent:
      return ops::add_event(tables, command.add_event(), command.time_ns());
    case pb::Command::kBeginRecovery:
      return ops::begin_recovery(tables, command.begin_recovery(), reply);
    case pb::Command::kFinishRecovery:
      return ops::finish_recovery(tables, command.finish_recovery(), reply);
    case pb::Command::OP_NOT_SET:
      break;
  }
  return fail(Code::kUnsupported, "the command is empty or of a newer version");
}

std::uint32_t crc_of_text(std::string_view text, std::uint32_t seed) {
  const std::string size = keys::encode_number(text.size());
  return crc32c(as_bytes(text), crc32c(as_bytes(size), seed));
}

}  // namespace

Result<Applied> Machine::apply(Slot slot, const pb::Command& command, const kv::Reader& reader) {
  TRY(const Slot before, applied_slot(reader));
  if (slot <= before) {
    return fail(Code::kInternal, "slot " + std::to_string(slot.raw()) + " was applied before (" +
                                     std::to_string(before.raw()) + ")");
  }
  Tables tables(reader);
  TRY_VOID(tables.load());
  Applied applied;
  const Status done = execute(tables, command, applied.reply);
  if (tables.failure()) return fail(*tables.failure());
  if (!done) {
    tables.discard();
    applied.reply.Clear();
    pb::ErrorDetail& error = *applied.reply.mutable_error();
    error.set_code(static_cast<std::uint32_t>(done.error().code()));
    error.set_message(done.error().message());
  }
  tables.put_number(keys::applied(), slot.raw());
  applied.changes = tables.take();
  return applied;
}

Result<Slot> Machine::applied_slot(const kv::Reader& reader) {
  TRY(const std::optional<std::string> value, reader.get(keys::applied()));
  if (!value) return Slot(0);
  const std::optional<std::uint64_t> slot = keys::decode_number(*value);
  if (!slot) return rows::corrupt(static_cast<char>(keys::Table::kApplied));
  return Slot(*slot);
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
